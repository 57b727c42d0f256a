package node

import (
	"context"
	"fmt"
	"math/bits"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// nodeBits is the prefix length of a node's share of the cluster range: 254 pods.
const nodeBits = 24

// Ranges returns the controller that gives each node its part of cluster, the range of pod addresses. It has
// one worker and reads its own writes, so no part is given twice; what is given is kept in the nodes alone.
func Ranges(c client.Client, events *event.Recorder, cluster netip.Prefix) loop.Controller {
	r := &ranges{client: c, events: events.For("cidrAllocator"), cluster: cluster.Masked()}
	return loop.Controller{Name: "node-ranges", For: kind.Of[*corev1.Node](), Reconcile: r.reconcile}
}

type ranges struct {
	client  client.Client
	events  *event.Recorder
	cluster netip.Prefix
}

func (r *ranges) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	n, err := client.Get[*corev1.Node](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil || n.Spec.PodCIDR != "" || n.DeletionTimestamp != nil {
		return loop.Result{}, err
	}
	nodes, err := client.List[*corev1.Node](ctx, r.client, client.Query{})
	if err != nil {
		return loop.Result{}, err
	}
	free, ok := nextFree(r.cluster, nodes)
	if !ok {
		r.events.Warning(n, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", n.Name)
		return loop.Result{}, fmt.Errorf("cannot give node %s a range: all of %s is taken", n.Name, r.cluster)
	}
	next := n.DeepCopy()
	next.Spec.PodCIDR, next.Spec.PodCIDRs = free.String(), []string{free.String()}
	if _, err := client.Update(ctx, r.client, next); err != nil {
		return loop.Result{}, fmt.Errorf("cannot give node %s the range %s: %w", n.Name, free, err)
	}
	return loop.Result{}, nil
}

// nextFree returns the lowest part of cluster that no node has. A node's own range counts wherever it overlaps.
func nextFree(cluster netip.Prefix, nodes []*corev1.Node) (netip.Prefix, bool) {
	if !cluster.Addr().Is4() {
		return netip.Prefix{}, false
	}
	size := max(nodeBits, cluster.Bits())
	count := 1 << (size - cluster.Bits())
	base := toUint(cluster.Addr())
	step := uint32(1) << (32 - size)
	taken := make([]uint64, (count+63)/64)
	for _, n := range nodes {
		p, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil || !p.Overlaps(cluster) {
			continue
		}
		first := int64(toUint(p.Masked().Addr())) - int64(base)
		last := first + int64(uint64(1)<<(32-p.Bits())) - 1
		for i := max(0, first/int64(step)); i <= min(int64(count-1), last/int64(step)); i++ {
			taken[i/64] |= 1 << (i % 64)
		}
	}
	for w, word := range taken {
		if i := w*64 + bits.TrailingZeros64(^word); i < min(count, w*64+64) {
			return netip.PrefixFrom(fromUint(base+uint32(i)*step), size), true
		}
	}
	return netip.Prefix{}, false
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func fromUint(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
