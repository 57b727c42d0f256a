package node

import (
	"cmp"
	"context"
	"encoding/json"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

func (n *Node) reportStatus(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	var written *corev1.NodeStatus
	var writtenAt time.Time
	before := n.lastReport(ctx)
	n.resumePressure(before)
	for {
		status := n.status(ctx, before)
		if written == nil || !sameStatus(written, status) || time.Since(writtenAt) > writeEvery || n.overruled(ctx, status) {
			err := n.writeStatus(ctx, status)
			switch {
			case err == nil:
				written, writtenAt, before = status, time.Now(), status
			case ctx.Err() != nil:
				return nil
			case apierrors.IsNotFound(err):
				// The node was removed from the cluster. As with a kubelet, only a new start registers it again: a
				// node that is being taken out must not come back by itself.
				n.cfg.Logger.Warn("the Node object is gone; not reporting status until the agent is started again")
				return nil
			default:
				n.cfg.Logger.Warn("cannot write node status; trying again", "err", err)
				n.kickLater(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.kick:
		}
	}
}

// lastReport returns what the agent that ran before reported of this host, so that a new start neither moves the
// conditions' transition times nor calls a node unready whose pods run. It is nil when the server does not say.
func (n *Node) lastReport(ctx context.Context) *corev1.NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	live, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if err != nil {
		n.cfg.Logger.Warn("cannot read the node's last status; reporting a new one", "err", err)
		return nil
	}
	return &live.Status
}

// resumePressure keeps conditions of pressure that the agent before this one found, unless the host was started anew.
func (n *Node) resumePressure(before *corev1.NodeStatus) {
	if before == nil || before.NodeInfo.BootID != readHost().bootID {
		return
	}
	var under []corev1.NodeConditionType
	for t := range pressureReasons {
		if c := condition(before, t); c != nil && c.Status == corev1.ConditionTrue {
			under = append(under, t)
		}
	}
	n.cfg.Pressure.Resume(under)
}

// overruled says whether the control plane has another opinion of the node than its last report: after a
// silence it sets conditions to Unknown, and only a report takes that back. The read is from the server's cache.
func (n *Node) overruled(ctx context.Context, status *corev1.NodeStatus) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	live, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.Name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	for i := range status.Conditions {
		c := condition(&live.Status, status.Conditions[i].Type)
		if c == nil || c.Status != status.Conditions[i].Status {
			return true
		}
	}
	return false
}

// kickLater tries again before the next tick without spinning on a server that is away.
func (n *Node) kickLater(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryEvery):
		n.Kick()
	}
}

func sameStatus(a, b *corev1.NodeStatus) bool {
	strip := func(s *corev1.NodeStatus) *corev1.NodeStatus {
		s = s.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		return s
	}
	return equality.Semantic.DeepEqual(strip(a), strip(b))
}

func (n *Node) writeStatus(ctx context.Context, status *corev1.NodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = n.cfg.Client.CoreV1().Nodes().Patch(ctx, n.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// status looks at the host. Conditions keep their transition time from prev when they did not change.
func (n *Node) status(ctx context.Context, prev *corev1.NodeStatus) *corev1.NodeStatus {
	h := readHost()
	runtimeVersion, err := n.cfg.RuntimeVersion(ctx)
	if err == nil {
		err = n.cfg.Ready(ctx)
	}
	memory, memoryKept := n.cfg.Pressure.Capacity(eviction.MemoryAvailable)
	disk, diskKept := n.cfg.Pressure.Capacity(eviction.NodeFSAvailable)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(disk, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(n.cfg.MaxPods), resource.DecimalSI),
	}
	allocatable := capacity.DeepCopy()
	allocatable[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(runtime.NumCPU())*1000-n.cfg.ReservedCPU, resource.DecimalSI)
	allocatable[corev1.ResourceMemory] = *resource.NewQuantity(max(0, memory-n.cfg.ReservedMemory-memoryKept), resource.BinarySI)
	allocatable[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(max(0, disk-diskKept), resource.BinarySI)
	s := &corev1.NodeStatus{
		Capacity:    capacity,
		Allocatable: allocatable,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: n.cfg.Address.String()},
			{Type: corev1.NodeHostName, Address: n.cfg.Name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: n.cfg.Port}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: h.machineID, SystemUUID: h.systemUUID, BootID: h.bootID,
			KernelVersion: h.kernel, OSImage: h.osImage,
			OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
			ContainerRuntimeVersion: runtimeVersion,
			KubeletVersion:          n.cfg.Version,
		},
	}
	if n.cfg.Images != nil {
		s.Images = n.cfg.Images(ctx)
	}
	if err != nil && prev != nil { // a runtime that is away for a moment has neither changed nor lost its images
		s.NodeInfo.ContainerRuntimeVersion = cmp.Or(runtimeVersion, prev.NodeInfo.ContainerRuntimeVersion)
		if s.Images == nil {
			s.Images = prev.Images
		}
	}
	for _, c := range n.cfg.Pressure.Conditions() {
		s.Conditions = append(s.Conditions, pressureCondition(c))
	}
	s.Conditions = append(s.Conditions, networkCondition(n.cfg.Network), readyCondition(n.excuse(err, s.NodeInfo.BootID, prev)))
	now := metav1.Now()
	for i := range s.Conditions {
		c := &s.Conditions[i]
		c.LastHeartbeatTime, c.LastTransitionTime = now, now
		if old := condition(prev, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	return s
}

func condition(s *corev1.NodeStatus, t corev1.NodeConditionType) *corev1.NodeCondition {
	if s == nil {
		return nil
	}
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// pressureReasons are a kubelet's, with pressure and without.
var pressureReasons = map[corev1.NodeConditionType][2]string{
	corev1.NodeMemoryPressure: {"KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"},
	corev1.NodeDiskPressure:   {"KubeletHasDiskPressure", "KubeletHasNoDiskPressure"},
	corev1.NodePIDPressure:    {"KubeletHasInsufficientPID", "KubeletHasSufficientPID"},
}

func pressureCondition(c pressure.Condition) corev1.NodeCondition {
	reasons := pressureReasons[c.Type]
	if c.Under {
		return corev1.NodeCondition{Type: c.Type, Status: corev1.ConditionTrue, Reason: reasons[0], Message: c.Message}
	}
	return corev1.NodeCondition{Type: c.Type, Status: corev1.ConditionFalse, Reason: reasons[1], Message: c.Message}
}

// networkCondition tells of a network that lacks something: the control plane then sends no new pods, and those that
// are there go on.
func networkCondition(network func() error) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "NetworkReady", Message: "pods reach the network and names resolve"}
	if network == nil {
		return c
	}
	if err := network(); err != nil {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "DNSNotServed", err.Error()
	}
	return c
}

// excuse returns nil for an error that is younger than unreadyAfter on a node that was ready since it booted: while
// agent or runtime start again the containers run on, and an unready node takes all its pods out of their services.
func (n *Node) excuse(err error, bootID string, prev *corev1.NodeStatus) error {
	if err == nil {
		n.failingSince = time.Time{}
		return nil
	}
	if n.failingSince.IsZero() {
		n.failingSince = n.now()
	}
	c := condition(prev, corev1.NodeReady)
	wasReady := c != nil && c.Status == corev1.ConditionTrue && prev.NodeInfo.BootID == bootID
	if wasReady && n.now().Sub(n.failingSince) < unreadyAfter {
		return nil
	}
	return err
}

func readyCondition(err error) corev1.NodeCondition {
	if err != nil {
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: err.Error()}
	}
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the agent is posting ready status"}
}
