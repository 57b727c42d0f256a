// Package node keeps this host's Node object: it registers the host, renews its lease and reports its state.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

const (
	// leaseSeconds and renewEvery are a kubelet's: the control plane gives a node up 40 s after its last renewal.
	leaseSeconds = 40
	renewEvery   = 10 * time.Second
	// statusEvery is how often the host's state is looked at; it is written when it changed, or after writeEvery.
	statusEvery = 10 * time.Second
	writeEvery  = 5 * time.Minute
	retryEvery  = time.Second
	// unreadyAfter is how long the runtime may be away before the node is not ready; a kubelet waits as long.
	unreadyAfter = 30 * time.Second
	// requestTimeout bounds one request, so that a server that hangs does not hold up the lease.
	requestTimeout = 8 * time.Second
)

// Config describes the host.
type Config struct {
	Name    string
	Address netip.Addr
	Client  kubernetes.Interface
	Labels  map[string]string
	Taints  []corev1.Taint
	Port    int32 // of the agent's own API
	MaxPods int
	// ReservedCPU (millicores) and ReservedMemory (bytes) are kept from pods.
	ReservedCPU, ReservedMemory int64
	// Pressure has the host's memory and disk, and what of them is short.
	Pressure *pressure.Monitor
	Version  string
	// RuntimeVersion names the container runtime: "containerd://1.6.20".
	RuntimeVersion func(ctx context.Context) (string, error)
	// Ready returns nil when pods can run: runtime and network are up.
	Ready func(ctx context.Context) error
	// Network returns nil when new pods find their way, and names; else they had better go elsewhere. It may be nil.
	Network func() error
	// Images lists the images on the host for the scheduler; nil means none are reported.
	Images func(ctx context.Context) []corev1.ContainerImage
	Logger *slog.Logger
}

// Node keeps the Node object of this host.
type Node struct {
	cfg  Config
	kick chan struct{} // capacity 1: a wish for a status now, many are one

	now          func() time.Time
	failingSince time.Time // of Config.Ready, zero while it returns nil; only the reporting goroutine uses it
}

// New returns a Node; nothing is done before Register and Run.
func New(cfg Config) *Node {
	return &Node{cfg: cfg, kick: make(chan struct{}, 1), now: time.Now}
}

// Kick asks for the status to be looked at now.
func (n *Node) Kick() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Register creates or updates the Node object and returns it once it has a pod range. It tries again until ctx ends.
func (n *Node) Register(ctx context.Context) (*corev1.Node, error) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	var last string
	for {
		node, err := n.registerOnce(ctx)
		if err == nil && node.Spec.PodCIDR != "" {
			return node, nil
		}
		if err == nil {
			node, err = n.awaitRange(ctx)
			if err == nil {
				return node, nil
			}
		}
		if err.Error() != last {
			last = err.Error()
			n.cfg.Logger.Warn("cannot register node yet; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot register node %s: %w", n.cfg.Name, err)
		case <-tick.C:
		}
	}
}

func (n *Node) registerOnce(ctx context.Context) (*corev1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	nodes := n.cfg.Client.CoreV1().Nodes()
	want := n.object()
	cur, err := nodes.Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		cur, err = nodes.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	missing := map[string]string{}
	for k, v := range want.Labels {
		if cur.Labels[k] != v {
			missing[k] = v
		}
	}
	if len(missing) == 0 {
		return cur, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": missing}})
	if err != nil {
		return nil, err
	}
	return nodes.Patch(ctx, n.cfg.Name, types.MergePatchType, patch, metav1.PatchOptions{})
}

// awaitRange watches the Node until the control plane has given it a pod range.
func (n *Node) awaitRange(ctx context.Context) (*corev1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	w, err := n.cfg.Client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + n.cfg.Name})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if node, ok := e.Object.(*corev1.Node); ok && node.Spec.PodCIDR != "" {
			return node, nil
		}
	}
	return nil, errors.New("the control plane gave it no pod range yet")
}

func (n *Node) object() *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname:      n.cfg.Name,
		corev1.LabelOSStable:      runtime.GOOS,
		corev1.LabelArchStable:    runtime.GOARCH,
		"beta.kubernetes.io/os":   runtime.GOOS,
		"beta.kubernetes.io/arch": runtime.GOARCH,
	}
	maps.Copy(labels, n.cfg.Labels)
	// Until the first status says that it is ready, nothing is to be scheduled here.
	taints := append([]corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}, n.cfg.Taints...)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: taints},
	}
}

// ParseTaint reads KEY[=VALUE]:EFFECT.
func ParseTaint(s string) (corev1.Taint, error) {
	kv, effect, ok := strings.Cut(s, ":")
	key, value, _ := strings.Cut(kv, "=")
	t := corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
	switch t.Effect {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		ok = false
	}
	if !ok || key == "" {
		return corev1.Taint{}, fmt.Errorf("cannot parse taint %q: it must be KEY=VALUE:EFFECT with effect NoSchedule, PreferNoSchedule or NoExecute", s)
	}
	return t, nil
}

// Run renews the lease and reports the status until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.renewLease(ctx) })
	g.Go(func() error { return n.reportStatus(ctx) })
	return g.Wait()
}
