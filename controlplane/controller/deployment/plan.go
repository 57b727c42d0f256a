package deployment

import (
	"reflect"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// plan is what one look at a Deployment leads to. It is one step: what it changes brings the next look.
type plan struct {
	create *appsv1.ReplicaSet
	update []change
	delete []*appsv1.ReplicaSet
	// revision is the annotation that the Deployment should have; "" leaves it.
	revision string
	status   appsv1.DeploymentStatus
	// after is when to look again without a change; 0 is never.
	after time.Duration
}

// change is a set as it is and as it is to be.
type change struct{ old, new *appsv1.ReplicaSet }

func (c change) resized() bool { return wanted(c.old.Spec.Replicas) != wanted(c.new.Spec.Replicas) }

// decide plans a step for d, which controls sets. oldPods says whether pods of any set but the current one
// are left; only strategy Recreate asks.
//
//	deleted           -> status only
//	paused or resized -> scale in proportion, nothing rolls
//	Recreate          -> old sets to 0, wait for their pods, new set
//	RollingUpdate     -> new set, grow it and shrink the others in turn
func decide(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, oldPods bool, now time.Time) (plan, error) {
	current, old := split(d, sets)
	s := step{d: d, current: current, old: old, all: sets, now: now}
	switch {
	case d.DeletionTimestamp != nil:
		return s.withStatus(plan{}, false), nil
	case d.Spec.Paused || resized(d, sets):
		p := s.apply(proportionalSizes(d, current, old))
		if d.Spec.Paused {
			p.delete = s.outdated()
		}
		return s.withStatus(p, false), nil
	}
	if !rolling(d) {
		if len(active(old)) > 0 {
			zero := sizes{}
			for _, rs := range active(old) {
				zero[rs] = 0
			}
			return s.withStatus(s.apply(zero), true), nil
		}
		if oldPods {
			return s.withStatus(plan{}, true), nil
		}
	}
	if current == nil {
		rs, err := newSet(d, nextRevision(old), newSetSize(d, nil, sets))
		if err != nil {
			return plan{}, err
		}
		return s.withStatus(plan{create: rs}, true), nil
	}
	var p plan
	if rolling(d) {
		p = s.apply(rollingSizes(d, current, old))
	} else {
		p = s.apply(sizes{current: wanted(d.Spec.Replicas)})
	}
	p = s.withStatus(p, true)
	if len(p.update) == 0 && complete(d, &p.status) {
		p.delete = s.outdated()
	}
	return p, nil
}

// step is what decide works with.
type step struct {
	d       *appsv1.Deployment
	current *appsv1.ReplicaSet // nil when no set has the template
	old     []*appsv1.ReplicaSet
	all     []*appsv1.ReplicaSet
	now     time.Time
}

// apply turns sizes into changed sets, and brings the current set's annotations up to date.
func (s step) apply(to sizes) plan {
	var p plan
	desired := wanted(s.d.Spec.Replicas)
	for _, rs := range s.all {
		next := rs
		if rs == s.current {
			next = annotated(s.d, rs, nextRevision(s.old), desired)
			if next.Spec.MinReadySeconds != s.d.Spec.MinReadySeconds {
				next = next.DeepCopy()
				next.Spec.MinReadySeconds = s.d.Spec.MinReadySeconds
			}
		} else if wanted(rs.Spec.Replicas) > 0 || to.of(rs) > 0 {
			marked := rs.DeepCopy()
			markSize(s.d, marked, desired)
			if !reflect.DeepEqual(marked.Annotations, rs.Annotations) {
				next = marked
			}
		}
		if n := to.of(rs); n != wanted(rs.Spec.Replicas) {
			next = next.DeepCopy()
			next.Spec.Replicas = &n
		}
		if next != rs {
			p.update = append(p.update, change{rs, next})
		}
		if rs == s.current {
			p.revision = next.Annotations[revisionAnnotation]
		}
	}
	return p
}

// withStatus adds d's status; progress says whether the rollout is under way, so that its deadline counts.
func (s step) withStatus(p plan, progress bool) plan {
	if s.d.DeletionTimestamp != nil {
		p.status = counted(s.d, s.current, s.all, s.now)
		return p
	}
	d := s.d.DeepCopy()
	notePause(d, s.now)
	current := s.current
	switch {
	case p.create != nil:
		current = p.create
		d.Status.Conditions = withProgress(&d.Status, reasonNewSet, `Created new replica set "`+p.create.Name+`"`, s.now)
		p.revision = p.create.Annotations[revisionAnnotation]
	case s.current != nil && hasDeadline(d) && condition(&d.Status, appsv1.DeploymentProgressing) == nil:
		d.Status.Conditions = withProgress(&d.Status, reasonFoundSet, `Found new replica set "`+s.current.Name+`"`, s.now)
	}
	p.status = counted(d, current, s.all, s.now)
	if progress {
		p.after = progressed(d, &p.status, current, s.all, s.now)
	}
	return p
}

func withProgress(s *appsv1.DeploymentStatus, reason, message string, now time.Time) []appsv1.DeploymentCondition {
	setCondition(s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reason, message, now)
	return s.Conditions
}

// notePause records on Progressing that d was paused or resumed, so that the time in between does not count
// towards the deadline.
func notePause(d *appsv1.Deployment, now time.Time) {
	if !hasDeadline(d) {
		return
	}
	c := condition(&d.Status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonTimedOut {
		return
	}
	paused := c != nil && c.Reason == reasonPaused
	switch {
	case d.Spec.Paused && !paused:
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now)
	case !d.Spec.Paused && paused:
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now)
	}
}

// outdated returns the sets beyond the history limit: empty ones, lowest revision first.
func (s step) outdated() []*appsv1.ReplicaSet {
	if s.d.Spec.RevisionHistoryLimit == nil || *s.d.Spec.RevisionHistoryLimit == 1<<31-1 {
		return nil
	}
	var empty []*appsv1.ReplicaSet
	for _, rs := range s.old {
		if rs.DeletionTimestamp == nil && wanted(rs.Spec.Replicas) == 0 && rs.Status.Replicas == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			empty = append(empty, rs)
		}
	}
	slices.SortStableFunc(empty, compareRevision)
	return empty[:max(0, len(empty)-int(*s.d.Spec.RevisionHistoryLimit))]
}
