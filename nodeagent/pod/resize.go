package pod

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// Resources of a running pod change in two steps (KEP 1287). The API's are allocated to the pod, and count against the node,
// once there is room for them; they are then set, on containers that run and on the pod's own cgroup, or by starting a
// container anew where it says that it must. A worker's pod has the allocated ones throughout.

const (
	// deferralRetry is the pause before a resize is looked at again for which there was no room, while no pod ends.
	deferralRetry = 3 * time.Minute
	// resizeErrorRetry is the pause before resources are set again that could not be.
	resizeErrorRetry = 10 * time.Second
)

// observe makes the API's pod the worker's, but for resources that have to be allocated first.
func (w *worker) observe(pod *corev1.Pod) {
	before, wanted := w.pod, w.wanted
	w.pod, w.wanted = pod, nil
	if w.rec.Stage != stageNew {
		w.pod = withResources(pod, before)
	}
	if w.pod != pod {
		w.wanted = pod
	}
	if w.wanted == nil || wanted == nil || withResources(wanted, pod) != wanted { // nothing that was said of another wish holds
		w.deferral = ""
		delete(w.retry, "allocate")
	}
	if !apiequality.Semantic.DeepEqual(before.Labels, pod.Labels) || !apiequality.Semantic.DeepEqual(before.Annotations, pod.Annotations) {
		w.m.cfg.Volumes.Update(w.pod)
	}
}

// withResources returns pod with the resources of from's containers; pod itself when it has them.
func withResources(pod, from *corev1.Pod) *corev1.Pod {
	out := pod
	for i, c := range resizable(&pod.Spec) {
		have := findContainer(&from.Spec, c.Name)
		if have == nil || apiequality.Semantic.DeepEqual(have.Resources, c.Resources) {
			continue
		}
		if out == pod {
			out = pod.DeepCopy()
		}
		resizable(&out.Spec)[i].Resources = *have.Resources.DeepCopy()
	}
	return out
}

// resizable are the containers whose resources may change while they run.
func resizable(spec *corev1.PodSpec) []*corev1.Container {
	var out []*corev1.Container
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; isSidecar(c) {
			out = append(out, c)
		}
	}
	for i := range spec.Containers {
		out = append(out, &spec.Containers[i])
	}
	return out
}

// resize brings resources forward that have changed.
func (w *worker) resize() {
	if w.wanted != nil && w.due("allocate") {
		w.allocate()
	}
	if !w.resizing && w.prep.done && w.due("actuate") {
		w.actuate()
	}
}

// allocate gives the pod the resources that are wanted, when the node has them.
func (w *worker) allocate() {
	w.m.room.Lock()
	defer w.m.room.Unlock()
	if message := w.lacks(); message != "" {
		if w.deferral == "" {
			w.event(nil, corev1.EventTypeWarning, "ResizeDeferred", "Pod resize Deferred: %s", summary(w.wanted, message))
		}
		w.deferral = message
		w.pause("allocate", deferralRetry)
		w.at(w.retry["allocate"])
		return
	}
	w.pod, w.wanted, w.deferral, w.resizeErr = w.wanted, nil, "", ""
	w.rec.Resizing = true
	delete(w.retry, "actuate")
	w.event(nil, corev1.EventTypeNormal, "ResizeStarted", "Pod resize started: %s", summary(w.pod, ""))
	w.m.cfg.Volumes.Update(w.pod)
	w.commit()
	w.m.retryResizes() // this one may have made room
}

// lacks says what the node has not enough of for what is wanted. What does not grow is not looked at: it has its place.
func (w *worker) lacks() string {
	node := w.m.node()
	if node == nil {
		return ""
	}
	has := resource.PodRequests(w.pod, resource.PodResourcesOptions{})
	grown := resource.PodRequests(w.wanted, resource.PodResourcesOptions{})
	for name, q := range grown {
		if q.Cmp(has[name]) <= 0 {
			delete(grown, name)
		}
	}
	if len(grown) == 0 {
		return ""
	}
	_, message := fits(grown, w.others(), node.Status.Allocatable)
	return message
}

// retryResizes has pods look again whether there is room for the resources that they want.
func (m *Manager) retryResizes() {
	for _, w := range m.all() {
		if w.deferred.Load() {
			w.post(func() { delete(w.retry, "allocate") })
		}
	}
}

// actuation is what is to be set. It changes nothing of the worker's.
type actuation struct {
	w      *worker
	before container.PodResources // while some containers have the old, and some the new limits
	after  container.PodResources
	set    []setting
	err    error
}

// setting is what a container that runs is to have.
type setting struct {
	name, id string
	was, now *corev1.ResourceRequirements
	limits   corev1.ResourceRequirements // now, with those of the pod
	done     bool
}

// actuate begins to set what was allocated. When nothing is left to set, the resize is done.
func (w *worker) actuate() {
	a := &actuation{w: w}
	waiting := false
	for _, c := range resizable(&w.pod.Spec) {
		rec, l := w.rec.Containers[c.Name], w.liveOf(c.Name)
		switch {
		case !rec.running(): // it starts with what is allocated
			waiting = waiting || l.op == opStart
		case rec.Resources == nil:
			rec.Resources = c.Resources.DeepCopy() // of an agent that never changed them
		case apiequality.Semantic.DeepEqual(*rec.Resources, c.Resources):
		case l.kill != nil || l.exited:
			waiting = true
		case restartsToResize(c, rec.Resources):
			w.replace(c, "Container %s resize requires restart")
			waiting = true
		default:
			a.set = append(a.set, setting{
				name: c.Name, id: rec.ID, was: rec.Resources, now: c.Resources.DeepCopy(), limits: limited(w.pod, c).Resources,
			})
		}
	}
	a.before, a.after = w.podLimits(), w.podLimits()
	if w.rec.Limits != nil {
		a.before = larger(*w.rec.Limits, a.before)
	}
	if len(a.set) > 0 && !waiting {
		a.after = podResources(w.pod)
	}
	if len(a.set) == 0 && w.rec.Limits != nil && *w.rec.Limits == a.after {
		if w.rec.Resizing && !waiting {
			w.rec.Resizing, w.resizeErr = false, ""
			w.event(nil, corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed: %s", summary(w.pod, ""))
		}
		return
	}
	w.resizing = true
	w.operate(func() { a.err = a.apply() }, func() { w.actuated(a) })
}

// restartsToResize says whether a container is to be started anew rather than changed.
func restartsToResize(c *corev1.Container, was *corev1.ResourceRequirements) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy != corev1.RestartContainer {
			continue
		}
		now, had := c.Resources.Requests[p.ResourceName], was.Requests[p.ResourceName]
		nowLimit, hadLimit := c.Resources.Limits[p.ResourceName], was.Limits[p.ResourceName]
		if now.Cmp(had) != 0 || nowLimit.Cmp(hadLimit) != 0 {
			return true
		}
	}
	return false
}

// apply sets limits: the pod's before its containers' where they grow, and after them where they shrink.
func (a *actuation) apply() error {
	rt := a.w.m.cfg.Runtime
	for _, s := range a.set {
		limit, had := s.now.Limits.Memory().Value(), s.was.Limits.Memory().Value()
		if limit == 0 || had != 0 && limit >= had {
			continue
		}
		// checked before anything is set: the kernel would end what does not fit
		usage, err := rt.MemoryUsage(a.w.uid, s.id)
		if err != nil {
			return err
		}
		if usage >= limit {
			return fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", s.name, limit, usage)
		}
	}
	if err := rt.SetPodResources(a.w.uid, a.before); err != nil {
		return err
	}
	for i := range a.set {
		s := &a.set[i]
		if err := rt.Update(a.w.ctx, s.id, a.w.uid, s.limits); err != nil {
			return fmt.Errorf("container %q: %w", s.name, err)
		}
		s.done = true
	}
	return rt.SetPodResources(a.w.uid, a.after)
}

// actuated takes the result of an actuation.
func (w *worker) actuated(a *actuation) {
	w.resizing = false
	for _, s := range a.set {
		if rec := w.rec.Containers[s.name]; s.done && rec.ID == s.id {
			rec.Resources = s.now
		}
	}
	if a.err == nil {
		w.rec.Limits, w.resizeErr = &a.after, ""
		return
	}
	w.rec.Limits = nil // unknown: they are set again
	if w.activeCtx.Err() != nil {
		return
	}
	if w.resizeErr == "" {
		w.event(nil, corev1.EventTypeWarning, "ResizeError", "Pod resize error: %s", summary(w.pod, a.err.Error()))
	}
	w.log.Warn("cannot resize pod", "error", a.err)
	w.resizeErr = a.err.Error()
	w.pause("actuate", resizeErrorRetry)
}

// podLimits are what the pod's cgroup needs for what its containers have and for what they are to have.
func (w *worker) podLimits() container.PodResources {
	now := podResources(w.pod)
	running := w.pod
	for i, c := range resizable(&w.pod.Spec) {
		rec := w.rec.Containers[c.Name]
		if !rec.running() || rec.Resources == nil || apiequality.Semantic.DeepEqual(*rec.Resources, c.Resources) {
			continue
		}
		if running == w.pod {
			running = w.pod.DeepCopy()
		}
		resizable(&running.Spec)[i].Resources = *rec.Resources
	}
	if running == w.pod {
		return now
	}
	return larger(now, podResources(running))
}

// larger is enough for both; no limit is the largest.
func larger(a, b container.PodResources) container.PodResources {
	limit := func(a, b int64) int64 {
		if a == 0 || b == 0 {
			return 0
		}
		return max(a, b)
	}
	return container.PodResources{
		CPUMillis: max(a.CPUMillis, b.CPUMillis), CPULimitMillis: limit(a.CPULimitMillis, b.CPULimitMillis), MemoryLimit: limit(a.MemoryLimit, b.MemoryLimit),
	}
}

// resizeConditions say how far a resize is; there are none without one.
func (w *worker) resizeConditions() []corev1.PodCondition {
	if w.rec.Stage == stageFinished {
		return nil
	}
	var out []corev1.PodCondition
	if w.wanted != nil && w.deferral != "" {
		out = append(out, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred, Message: w.deferral})
	}
	if w.rec.Resizing {
		c := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}
		if w.resizeErr != "" {
			c.Reason, c.Message = corev1.PodReasonError, w.resizeErr
		}
		out = append(out, c)
	}
	return out
}

// summary is what an event says of a resize, in the form that kubelets use.
func summary(pod *corev1.Pod, problem string) string {
	type allocation struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	s := struct {
		InitContainers []allocation `json:"initContainers,omitempty"`
		Containers     []allocation `json:"containers,omitempty"`
		Generation     int64        `json:"generation"`
		Error          string       `json:"error,omitempty"`
	}{Generation: pod.Generation, Error: problem}
	for _, c := range pod.Spec.InitContainers {
		s.InitContainers = append(s.InitContainers, allocation{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		s.Containers = append(s.Containers, allocation{c.Name, c.Resources})
	}
	data, err := json.Marshal(s)
	if err != nil {
		return problem
	}
	return string(data)
}
