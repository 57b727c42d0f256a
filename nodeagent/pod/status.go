package pod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is the pod's status as the record makes it. Fields that others own are taken over from the API's.
func (w *worker) status() *corev1.PodStatus {
	s := w.pod.Status.DeepCopy()
	if len(w.rec.Conditions) > 0 {
		// Transition times are counted from what was published last: the API may lag behind.
		s.Conditions = ownConditions(s.Conditions, w.rec.Conditions)
	}
	s.ObservedGeneration = w.pod.Generation
	s.StartTime = w.rec.StartTime
	s.QOSClass = qosOf(w.pod)
	s.Reason, s.Message = w.rec.Reason, w.rec.Message
	if w.rec.StartTime != nil && w.m.cfg.NodeIP.IsValid() {
		s.HostIP = w.m.cfg.NodeIP.String()
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
	s.PodIP, s.PodIPs = "", nil
	for _, ip := range w.rec.IPs {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
	w.containerStatuses(s)
	ended := w.rec.Stage == stageFinished || w.rec.Stage == stageStopping && !w.anyRunning()
	s.Phase = phase(w.pod, s, w.rec.Failed, ended)
	w.conditions(s)
	return s
}

func (w *worker) anyRunning() bool {
	for _, c := range allContainers(&w.pod.Spec) {
		if w.alive(c) {
			return true
		}
	}
	return false
}

func (w *worker) containerStatuses(s *corev1.PodStatus) {
	s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	if w.rec.Failed && len(w.rec.Containers) == 0 {
		return // refused: it never had any
	}
	initialized := true
	for i := range w.pod.Spec.InitContainers {
		c := &w.pod.Spec.InitContainers[i]
		s.InitContainerStatuses = append(s.InitContainerStatuses, w.containerStatus(c, "PodInitializing"))
		rec := w.rec.Containers[c.Name]
		if !rec.succeeded() && !(isSidecar(c) && rec.running() && rec.Started) {
			initialized = false
		}
	}
	waiting := "ContainerCreating"
	if !initialized {
		waiting = "PodInitializing"
	}
	for i := range w.pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, w.containerStatus(&w.pod.Spec.Containers[i], waiting))
	}
	slices.SortFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
	for i := range w.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&w.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, w.containerStatus(c, "ContainerCreating"))
	}
}

func (w *worker) containerStatus(c *corev1.Container, waiting string) corev1.ContainerStatus {
	rec, l := w.rec.Containers[c.Name], w.live[c.Name]
	no := false
	cs := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: &no}
	for _, m := range c.VolumeMounts {
		vm := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly && m.RecursiveReadOnly != nil {
			disabled := corev1.RecursiveReadOnlyDisabled
			vm.RecursiveReadOnly = &disabled
		}
		cs.VolumeMounts = append(cs.VolumeMounts, vm)
	}
	if l != nil && l.waiting != nil {
		cs.State.Waiting = l.waiting
	}
	if rec == nil || rec.ID == "" {
		if cs.State.Waiting == nil {
			cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting}
		}
		return cs
	}
	cs.RestartCount = rec.Attempt
	cs.ContainerID, cs.ImageID = statusID(rec.ID), rec.ImageID
	if rec.Image != "" {
		cs.Image = rec.Image
	}
	cs.LastTerminationState = rec.Last
	cs.AllocatedResources, cs.Resources = c.Resources.Requests, &c.Resources
	if rec.running() && rec.Resources != nil {
		cs.Resources = rec.Resources
	}
	switch {
	case rec.State.Running != nil:
		cs.State = rec.State
		started := rec.Started
		// An init container that is no sidecar is ready once it is done.
		cs.Started, cs.Ready = &started, rec.Ready && (isSidecar(c) || !isInit(w.pod, c.Name))
	case cs.State.Waiting != nil && rec.State.Terminated != nil:
		cs.LastTerminationState = rec.State
	default:
		cs.State = rec.State
		cs.Ready = isInit(w.pod, c.Name) && rec.succeeded()
	}
	return cs
}

// phase sums up the containers. ended says that none will run again, whatever the restart policy.
func phase(pod *corev1.Pod, s *corev1.PodStatus, failed, ended bool) corev1.PodPhase {
	if failed && ended {
		return corev1.PodFailed
	}
	never := pod.Spec.RestartPolicy == corev1.RestartPolicyNever
	initializing := false
	for i, cs := range s.InitContainerStatuses {
		c := &pod.Spec.InitContainers[i]
		switch t := cs.State.Terminated; {
		case isSidecar(c):
			initializing = initializing || (cs.State.Running == nil || cs.Started == nil || !*cs.Started) && !anyStarted(s)
		case t != nil && t.ExitCode == 0:
		case t != nil && never:
			return corev1.PodFailed
		default:
			initializing = initializing || !anyStarted(s)
		}
	}
	var running, waiting, stopped, succeeded int
	for _, cs := range s.ContainerStatuses {
		switch {
		case cs.State.Running != nil:
			running++
		case cs.State.Terminated != nil:
			stopped++
			if cs.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case cs.LastTerminationState.Terminated != nil:
			stopped++
		default:
			waiting++
		}
	}
	if ended {
		if stopped > 0 && stopped == succeeded && waiting == 0 {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	switch {
	case initializing, waiting > 0, running+stopped == 0:
		return corev1.PodPending
	default:
		return corev1.PodRunning
	}
}

func anyStarted(s *corev1.PodStatus) bool {
	return slices.ContainsFunc(s.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.ContainerID != "" })
}

// The conditions that this node reports; others on the pod are not touched.
var ownTypes = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	corev1.PodResizePending, corev1.PodResizeInProgress,
}

// ownConditions replaces this node's conditions in the API's list by those published last.
func ownConditions(api, published []corev1.PodCondition) []corev1.PodCondition {
	out := slices.DeleteFunc(slices.Clone(api), func(c corev1.PodCondition) bool { return slices.Contains(ownTypes, c.Type) })
	for _, c := range published {
		if slices.Contains(ownTypes, c.Type) {
			out = append(out, c)
		}
	}
	return out
}

func (w *worker) conditions(s *corev1.PodStatus) {
	before := s.Conditions
	var out []corev1.PodCondition
	set := func(c corev1.PodCondition) {
		c.ObservedGeneration = w.pod.Generation
		c.LastTransitionTime = metav1.NewTime(w.now().Truncate(time.Second))
		i := slices.IndexFunc(before, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		if i >= 0 {
			c.LastProbeTime = before[i].LastProbeTime
			if before[i].Status == c.Status {
				c.LastTransitionTime = before[i].LastTransitionTime
			}
		}
		out = append(out, c)
	}
	up := corev1.ConditionFalse
	if w.rec.SandboxUp {
		up = corev1.ConditionTrue
	}
	set(corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: up})
	set(initialized(w.pod, s))
	containers := containersReady(w.pod, s)
	set(ready(w.pod, containers, before))
	set(containers)
	set(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	for _, c := range w.resizeConditions() {
		set(c)
	}
	for _, c := range before {
		if !slices.Contains(ownTypes, c.Type) {
			out = append(out, c)
		}
	}
	if w.rec.Evicted && w.rec.StopBy != nil && !slices.ContainsFunc(out, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }) {
		out = append(out, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: w.pod.Generation, LastTransitionTime: *w.rec.StopBy,
			Reason: corev1.PodReasonTerminationByKubelet, Message: w.rec.Message,
		})
	}
	s.Conditions = out
}

func initialized(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	var missing []string
	for i, cs := range s.InitContainerStatuses {
		if isSidecar(&pod.Spec.InitContainers[i]) && (cs.Started != nil && *cs.Started || anyStarted(s)) {
			continue
		}
		if !cs.Ready && !anyStarted(s) {
			missing = append(missing, cs.Name)
		}
	}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case len(missing) > 0:
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(missing, " "))
	}
	return c
}

func containersReady(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}
	var unready []string
	for i, cs := range s.InitContainerStatuses {
		if isSidecar(&pod.Spec.InitContainers[i]) && !cs.Ready {
			unready = append(unready, cs.Name)
		}
	}
	for _, cs := range s.ContainerStatuses {
		if !cs.Ready {
			unready = append(unready, cs.Name)
		}
	}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Status, c.Reason = corev1.ConditionFalse, "PodCompleted"
	case s.Phase == corev1.PodFailed:
		c.Status, c.Reason = corev1.ConditionFalse, "PodFailed"
	case len(unready) > 0 || len(s.ContainerStatuses) == 0:
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotReady"
		c.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	return c
}

func ready(pod *corev1.Pod, containers corev1.PodCondition, all []corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var problems []string
	for _, gate := range pod.Spec.ReadinessGates {
		i := slices.IndexFunc(all, func(o corev1.PodCondition) bool { return o.Type == gate.ConditionType })
		switch {
		case i < 0:
			problems = append(problems, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case all[i].Status != corev1.ConditionTrue:
			problems = append(problems, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, all[i].Status))
		}
	}
	if len(problems) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(problems, ", ")
	}
	return c
}
