package node

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// renewLease keeps the node's lease in kube-node-lease (KEP-589), the heartbeat that the control plane goes by.
func (n *Node) renewLease(ctx context.Context) error {
	var lease *coordinationv1.Lease
	failing := false
	for {
		next, err := n.renewOnce(ctx, lease)
		wait := renewEvery
		switch {
		case err == nil:
			lease = next
			if failing {
				n.cfg.Logger.Info("lease renewed again")
			}
			failing = false
		case ctx.Err() != nil:
			return nil
		default:
			if !failing {
				n.cfg.Logger.Warn("cannot renew lease; trying again", "err", err)
			}
			failing, lease, wait = true, nil, retryEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (n *Node) renewOnce(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	leases := n.cfg.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	if lease == nil {
		cur, err := leases.Get(ctx, n.cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return leases.Create(ctx, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, OwnerReferences: n.owner(ctx)},
				Spec:       n.leaseSpec(now),
			}, metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
		lease = cur
	}
	lease = lease.DeepCopy()
	lease.Spec = n.leaseSpec(now)
	return leases.Update(ctx, lease, metav1.UpdateOptions{})
}

func (n *Node) leaseSpec(now metav1.MicroTime) coordinationv1.LeaseSpec {
	return coordinationv1.LeaseSpec{HolderIdentity: &n.cfg.Name, LeaseDurationSeconds: ptr.To[int32](leaseSeconds), RenewTime: &now}
}

// owner makes the lease go with its node.
func (n *Node) owner(ctx context.Context) []metav1.OwnerReference {
	node, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
}
