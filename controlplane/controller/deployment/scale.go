package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func wanted(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func rolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// bounds returns how many pods d may have beyond its replicas, and how many fewer available ones. Both zero
// would never get anywhere, so then one may be unavailable.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	r := d.Spec.Strategy.RollingUpdate
	if !rolling(d) || r == nil {
		return 0, 0
	}
	replicas := int(wanted(d.Spec.Replicas))
	s := scaled(r.MaxSurge, replicas, true)
	u := scaled(r.MaxUnavailable, replicas, false)
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), int32(min(u, replicas))
}

// scaled resolves a number or percentage; validation has refused what is neither, so such counts as 0.
func scaled(v *intstr.IntOrString, of int, up bool) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), of, up)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func maxSurge(d *appsv1.Deployment) int32       { s, _ := bounds(d); return s }
func maxUnavailable(d *appsv1.Deployment) int32 { _, u := bounds(d); return u }

// sizes is a decision: how many replicas each set is to have. Sets that are not in it stay as they are.
type sizes map[*appsv1.ReplicaSet]int32

func (s sizes) of(rs *appsv1.ReplicaSet) int32 {
	if n, ok := s[rs]; ok {
		return n
	}
	return wanted(rs.Spec.Replicas)
}

func (s sizes) total(sets []*appsv1.ReplicaSet) int32 {
	var n int32
	for _, rs := range sets {
		n += s.of(rs)
	}
	return n
}

// newSetSize is how large the current set may be now, given what all sets ask for.
func newSetSize(d *appsv1.Deployment, current *appsv1.ReplicaSet, all []*appsv1.ReplicaSet) int32 {
	desired := wanted(d.Spec.Replicas)
	if !rolling(d) {
		return desired
	}
	var have int32
	if current != nil {
		have = wanted(current.Spec.Replicas)
	}
	room := desired + maxSurge(d) - sizes{}.total(all)
	if room <= 0 {
		return have
	}
	return have + max(0, min(room, desired-have))
}

// rollingSizes takes a step of a rolling update: first the new set grows as far as the surge allows; when it
// can not, old sets shrink as far as availability allows, pods that are not available first.
//
// A set's status may still count pods that its spec has given up, so neither figure is trusted beyond the other,
// and nothing shrinks while a set has not said what became of its last change of size.
func rollingSizes(d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) sizes {
	all := append(slices.Clone(old), current)
	desired := wanted(d.Spec.Replicas)
	if have := wanted(current.Spec.Replicas); have > desired {
		return sizes{current: desired}
	} else if n := newSetSize(d, current, all); n > have {
		return sizes{current: n}
	}
	out := sizes{}
	for _, rs := range all {
		if rs.Status.ObservedGeneration < rs.Generation {
			return out
		}
	}
	minAvailable := desired - maxUnavailable(d)
	spare := out.total(all) - minAvailable - (wanted(current.Spec.Replicas) - available(current))
	for _, rs := range byAge(old) { // what does not work costs nothing
		gone := min(spare, out.of(rs)-available(rs))
		if gone > 0 {
			out[rs] = out.of(rs) - gone
			spare -= gone
		}
	}
	var working int32
	for _, rs := range all {
		working += min(available(rs), out.of(rs))
	}
	spare = min(spare, working-minAvailable)
	for _, rs := range byAge(old) {
		if gone := min(spare, out.of(rs)); gone > 0 {
			out[rs] = out.of(rs) - gone
			spare -= gone
		}
	}
	return out
}

// available is how many of rs's pods are available and meant to stay.
func available(rs *appsv1.ReplicaSet) int32 {
	return min(rs.Status.AvailableReplicas, wanted(rs.Spec.Replicas))
}

// resized says whether d's replicas changed since its sets were last scaled.
func resized(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	for _, rs := range active(sets) {
		if n, ok := annotation(rs, desiredAnnotation); ok && n != wanted(d.Spec.Replicas) {
			return true
		}
	}
	return false
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range sets {
		if wanted(rs.Spec.Replicas) > 0 {
			out = append(out, rs)
		}
	}
	return out
}

func annotation(rs *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[key], 10, 32)
	return int32(n), err == nil
}

// proportionalSizes follows a change of d's replicas: the only set with pods takes all of it; in the middle of
// a rolling update every set takes its share, so that the rollout's risk stays what it was.
func proportionalSizes(d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) sizes {
	out := sizes{}
	desired := wanted(d.Spec.Replicas)
	all := slices.Clone(old)
	if current != nil {
		all = append(all, current)
	}
	if only := activeOrLatest(current, old); only != nil {
		out[only] = desired
		return out
	}
	if saturated(d, current) {
		for _, rs := range active(old) {
			out[rs] = 0
		}
		return out
	}
	if !rolling(d) {
		return out
	}
	running := active(all)
	allowed := int32(0)
	if desired > 0 {
		allowed = desired + maxSurge(d)
	}
	change := allowed - out.total(all)
	sortForShare(running, change)
	left := change
	for _, rs := range running {
		share := shareOf(d, rs, change, left)
		out[rs] = max(0, wanted(rs.Spec.Replicas)+share)
		left -= share
	}
	if len(running) > 0 { // what rounding left goes to the largest
		out[running[0]] = max(0, out[running[0]]+left)
	}
	return out
}

// sortForShare puts the largest first; among equals the youngest when there is more to give, else the oldest.
func sortForShare(sets []*appsv1.ReplicaSet, change int32) {
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		age := a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time)
		if change > 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(wanted(b.Spec.Replicas), wanted(a.Spec.Replicas)), age, cmp.Compare(a.Name, b.Name))
	})
}

// shareOf is how much rs changes of the whole change, of which left is not given away yet.
func shareOf(d *appsv1.Deployment, rs *appsv1.ReplicaSet, change, left int32) int32 {
	have := wanted(rs.Spec.Replicas)
	if have == 0 || change == 0 || left == 0 {
		return 0
	}
	was, ok := annotation(rs, maxAnnotation)
	if !ok || was <= 0 {
		was = d.Status.Replicas
	}
	if was <= 0 {
		return 0
	}
	size := float64(wanted(d.Spec.Replicas)+maxSurge(d)) * float64(have) / float64(was)
	share := int32(math.Round(size)) - have
	if change > 0 {
		return min(max(share, 0), left)
	}
	return max(min(share, 0), left)
}

// activeOrLatest returns the only set with pods, the newest one when none has any, or nil when several have.
func activeOrLatest(current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	all := slices.Clone(old)
	if current != nil {
		all = append(all, current)
	}
	switch running := active(all); {
	case len(running) == 1:
		return running[0]
	case len(running) > 1:
		return nil
	case current != nil:
		return current
	case len(old) > 0:
		return byAge(old)[len(old)-1]
	default:
		return nil
	}
}

func saturated(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	if rs == nil {
		return false
	}
	desired := wanted(d.Spec.Replicas)
	n, ok := annotation(rs, desiredAnnotation)
	return ok && n == desired && wanted(rs.Spec.Replicas) == desired && rs.Status.AvailableReplicas == desired
}
