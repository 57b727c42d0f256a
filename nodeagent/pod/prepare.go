package pod

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

// preparation is what containers of a pod need before they can be created. The other fields may be read once ready is
// closed.
type preparation struct {
	ready   chan struct{} // closed by the worker when everything is there
	done    bool
	running bool
	fails   int
	awaits  bool // a config map or secret, for a volume
	again   bool // it was prepared before
	limits  container.PodResources
	box     *container.Sandbox
	mounts  map[string]volume.Mounted
	ips     []netip.Addr
}

// prepareTimeout bounds one attempt, so that one that hangs is reported and tried again.
const prepareTimeout = 2 * time.Minute

// prepareMaxPause is the longest pause between two attempts.
const prepareMaxPause = 30 * time.Second

// Failures of a preparation, told apart because they are reported as different events.
type sandboxError struct{ error }
type mountError struct{ error }

// ensurePrepared makes namespaces, address, volumes and files, or finds those that are there.
func (w *worker) ensurePrepared() {
	if w.prep == nil {
		w.prep = &preparation{ready: make(chan struct{})}
	}
	p := w.prep
	if p.done || p.running || !w.due("prepare") {
		return
	}
	p.running, p.awaits = true, false
	objects := w.objects
	pod, ctx := w.pod, w.activeCtx
	p.limits, p.again = w.podLimits(), w.rec.SandboxUp
	var err error
	w.operate(func() { err = w.prepare(ctx, pod, p) }, func() {
		w.prepared(p, err)
		if w.pod != pod {
			w.m.cfg.Volumes.Update(w.pod)
		}
		if w.objects != objects && p.awaits { // it came while this was tried
			delete(w.retry, "prepare")
		}
	})
}

func (w *worker) prepare(ctx context.Context, pod *corev1.Pod, p *preparation) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if p.mounts, err = w.m.cfg.Volumes.Setup(gctx, pod); err != nil {
			return mountError{err}
		}
		return nil
	})
	g.Go(func() error {
		if err := w.prepareSandbox(gctx, pod, p); err != nil {
			return sandboxError{err}
		}
		return nil
	})
	return g.Wait()
}

func (w *worker) prepareSandbox(ctx context.Context, pod *corev1.Pod, p *preparation) (err error) {
	cfg := container.SandboxConfig{
		UID: pod.UID, Hostname: hostname(pod, w.m.cfg.DNS.Domain),
		HostNetwork: pod.Spec.HostNetwork, HostIPC: pod.Spec.HostIPC,
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		cfg.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			cfg.Sysctls[s.Name] = s.Value
		}
	}
	if !p.again { // what runs goes on, whoever answers
		if err := w.unsupported(ctx, pod); err != nil {
			return err
		}
	}
	if p.box, err = w.m.cfg.Runtime.EnsureSandbox(ctx, cfg); err != nil {
		return err
	}
	if pod.Spec.HostNetwork {
		p.ips = []netip.Addr{w.m.cfg.NodeIP}
	} else if p.ips, err = w.m.cfg.Network.Attach(ctx, networkPod(pod), p.box.NetNS); err != nil {
		return err
	}
	if err := w.m.cfg.Runtime.SetPodResources(pod.UID, p.limits); err != nil {
		return err
	}
	return writeFiles(w.etcDir(), pod, w.m.cfg.DNS, p.ips)
}

func (w *worker) etcDir() string { return filepath.Join(w.dir, "etc") }

func networkPod(pod *corev1.Pod) network.Pod {
	n := network.Pod{UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name}
	for _, c := range allContainers(&pod.Spec) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			m := network.PortMapping{HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort), Protocol: string(p.Protocol)}
			if m.Protocol == "" {
				m.Protocol = "TCP"
			}
			if ip, err := netip.ParseAddr(p.HostIP); err == nil && !ip.IsUnspecified() {
				m.HostIP = ip
			}
			n.Ports = append(n.Ports, m)
		}
	}
	return n
}

// podResources sums up what the pod's containers may use together. A limit counts only when the pod or all of them have one.
func podResources(pod *corev1.Pod) container.PodResources {
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	out := container.PodResources{CPUMillis: req.Cpu().MilliValue()}
	lim := resource.PodLimits(pod, resource.PodResourcesOptions{})
	if allLimited(pod, corev1.ResourceCPU) {
		out.CPULimitMillis = lim.Cpu().MilliValue()
	}
	if allLimited(pod, corev1.ResourceMemory) {
		out.MemoryLimit = lim.Memory().Value()
	}
	return out
}

func allLimited(pod *corev1.Pod, name corev1.ResourceName) bool {
	for _, c := range allContainers(&pod.Spec) {
		if q := limited(pod, c).Resources.Limits[name]; q.IsZero() && !isEphemeral(pod, c.Name) {
			return false
		}
	}
	return true
}

// limited is a container with the pod's own limits of processor and memory where it has none: it may use all that the pod
// may, and reads that from its cgroup.
func limited(pod *corev1.Pod, c *corev1.Container) *corev1.Container {
	if pod.Spec.Resources == nil {
		return c
	}
	out := *c
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		whole, own := pod.Spec.Resources.Limits[name], out.Resources.Limits[name]
		if whole.IsZero() || !own.IsZero() {
			continue
		}
		limits := corev1.ResourceList{name: whole}
		for other, q := range out.Resources.Limits {
			if other != name {
				limits[other] = q
			}
		}
		out.Resources.Limits = limits
	}
	return &out
}

// prepared takes the result of a preparation.
func (w *worker) prepared(p *preparation, err error) {
	p.running = false
	if err != nil {
		w.prepareFailed(p, err)
		return
	}
	p.done, p.fails = true, 0
	w.rec.IPs, w.rec.SandboxUp, w.rec.Limits = p.ips, true, &p.limits
	if p.box.Fresh {
		w.rec.Generation++
		for _, c := range allContainers(&w.pod.Spec) {
			if w.rec.Containers[c.Name].running() && w.rec.Stage == stageActive {
				w.kill(c, w.now().Add(graceOf(w.pod)), "Pod sandbox changed, container %s will be killed and re-created.")
			}
		}
	}
	close(p.ready)
}

func (w *worker) prepareFailed(p *preparation, err error) {
	if w.activeCtx.Err() != nil {
		return
	}
	p.fails++
	w.pause("prepare", min(time.Second<<min(p.fails-1, 10), prepareMaxPause))
	w.log.Warn("cannot prepare pod", "error", err)
	var me mountError
	var we *volume.WaitError
	switch {
	case errors.As(err, &we):
		p.awaits = true
		w.event(nil, corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %s %q not found", we.Volume, we.Kind, we.Name)
	case errors.As(err, &me):
		w.event(nil, corev1.EventTypeWarning, "FailedMount", "%s", me.Error())
	default:
		w.event(nil, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
	}
}

// release gives back what a finished pod holds.
func (w *worker) release() {
	if w.releasing || !w.due("release") {
		return
	}
	w.releasing = true
	var err error
	w.operate(func() {
		ctx, cancel := context.WithTimeout(w.ctx, prepareTimeout)
		defer cancel()
		if err = w.m.removeContainersOf(ctx, w.uid); err == nil {
			err = w.m.releaseResources(ctx, w.uid)
		}
	}, func() {
		w.releasing = false
		if err != nil {
			if w.ctx.Err() == nil {
				w.log.Warn("cannot give back what the pod holds; trying again", "error", err)
			}
			w.pause("release", retryPause)
			return
		}
		w.rec.Released, w.rec.SandboxUp = true, false
	})
}

// removeContainersOf removes whatever containerd still has of a pod.
func (m *Manager) removeContainersOf(ctx context.Context, uid types.UID) error {
	list, err := m.cfg.Runtime.ListPod(ctx, uid)
	if err != nil {
		return err
	}
	for _, id := range list {
		if err := m.cfg.Runtime.Remove(ctx, id, uid); err != nil {
			return fmt.Errorf("cannot remove container of pod: %w", err)
		}
	}
	return nil
}
