package deployment

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world simulates what surrounds the controller: sets whose pods come, work, fail and go at any time, and whose
// statuses lag behind.
type world struct {
	t    *testing.T
	rand *rand.Rand
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	pods map[types.UID][]bool // of each set, whether they are available
	now  time.Time
	uid  int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), pods: map[types.UID][]bool{}, now: time.Unix(1700000000, 0)}
	percent := func() *intstr.IntOrString {
		v := intstr.FromString(fmt.Sprintf("%d%%", w.rand.IntN(101)))
		if w.rand.IntN(2) == 0 {
			v = intstr.FromInt32(w.rand.Int32N(4))
		}
		return &v
	}
	replicas := 1 + w.rand.Int32N(12)
	w.d = testDeployment(replicas)
	w.d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: percent(), MaxUnavailable: percent()}
	return w
}

func testDeployment(replicas int32) *appsv1.Deployment {
	limit, deadline := int32(2), int32(600)
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: &limit, ProgressDeadlineSeconds: &deadline,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
			},
		},
	}
}

// decide lets the controller take a step, and checks it.
func (w *world) decide() plan {
	w.now = w.now.Add(time.Second)
	p, err := decide(w.d, w.sets, false, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	rolls := !w.d.Spec.Paused && !resized(w.d, w.sets)
	asked, kept := w.asked(), w.kept()
	w.carryOut(p)
	desired := *w.d.Spec.Replicas
	if rolls && w.asked() > max(asked, desired+maxSurge(w.d)) {
		w.t.Fatalf("%d pods asked for, %d before, %d desired and %d of surge", w.asked(), asked, desired, maxSurge(w.d))
	}
	if rolls && w.kept() < min(kept, desired-maxUnavailable(w.d)) {
		w.t.Fatalf("%d available pods kept of %d, %d desired and %d may lack", w.kept(), kept, desired, maxUnavailable(w.d))
	}
	return p
}

// asked is how many pods all sets are to have.
func (w *world) asked() int32 { return sizes{}.total(w.sets) }

// kept is how many pods that work, and are known to, their sets will keep, giving up others first.
func (w *world) kept() int32 {
	var n int32
	for _, rs := range w.sets {
		n += min(*rs.Spec.Replicas, w.working(rs), rs.Status.AvailableReplicas)
	}
	return n
}

func (w *world) working(rs *appsv1.ReplicaSet) int32 {
	var n int32
	for _, ok := range w.pods[rs.UID] {
		if ok {
			n++
		}
	}
	return n
}

func (w *world) carryOut(p plan) {
	if p.create != nil {
		rs := p.create.DeepCopy()
		w.uid++
		rs.UID, rs.Generation = types.UID(fmt.Sprint(w.uid)), 1
		rs.CreationTimestamp = metav1.NewTime(w.now)
		w.sets = append(w.sets, rs)
	}
	for _, c := range p.update {
		for i := range w.sets {
			if w.sets[i].UID == c.new.UID {
				w.sets[i] = c.new
				w.sets[i].Generation++
			}
		}
	}
	for _, gone := range p.delete {
		for i := range w.sets {
			if w.sets[i].UID == gone.UID {
				w.sets = append(w.sets[:i:i], w.sets[i+1:]...)
				break
			}
		}
	}
	if p.revision != "" {
		w.d.Annotations = map[string]string{revisionAnnotation: p.revision}
	}
	w.d.Status = p.status
}

// replicate brings a set's pods to its size: new ones do not work yet, and those that do not work go first.
func (w *world) replicate(rs *appsv1.ReplicaSet) {
	pods := w.pods[rs.UID]
	for len(pods) < int(*rs.Spec.Replicas) {
		pods = append(pods, false)
	}
	for len(pods) > int(*rs.Spec.Replicas) {
		at := len(pods) - 1
		for i, ok := range pods {
			if !ok {
				at = i
			}
		}
		pods = append(pods[:at], pods[at+1:]...)
	}
	w.pods[rs.UID] = pods
}

func (w *world) observe(rs *appsv1.ReplicaSet) {
	rs.Status.Replicas = int32(len(w.pods[rs.UID]))
	rs.Status.ReadyReplicas = w.working(rs)
	rs.Status.AvailableReplicas = w.working(rs)
	rs.Status.ObservedGeneration = rs.Generation
}

// happen lets something random happen.
func (w *world) happen() {
	if len(w.sets) == 0 {
		return
	}
	rs := w.sets[w.rand.IntN(len(w.sets))]
	pods := w.pods[rs.UID]
	switch w.rand.IntN(12) {
	case 0, 1, 2:
		w.replicate(rs)
	case 3, 4, 5:
		w.observe(rs)
	case 6, 7, 8:
		if len(pods) > 0 {
			pods[w.rand.IntN(len(pods))] = true
		}
	case 9: // a failure is seen at once: the controller can not answer for what nobody could know
		if len(pods) > 0 {
			pods[w.rand.IntN(len(pods))] = false
			w.observe(rs)
		}
	case 10:
		if w.rand.IntN(8) == 0 {
			w.d.Generation++
			w.d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("web:%d", w.rand.IntN(4))
		}
	case 11:
		if w.rand.IntN(8) == 0 {
			w.d.Generation++
			n := w.rand.Int32N(14)
			w.d.Spec.Replicas = &n
		}
	}
}

func TestRollingUpdateKeepsItsBounds(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(t, seed)
		for range 400 {
			w.happen()
			if w.rand.IntN(2) == 0 {
				w.decide()
			}
		}
		var last plan
		for range 200 { // now everything goes well, so the rollout has to end
			for _, rs := range w.sets {
				w.replicate(rs)
				for i := range w.pods[rs.UID] {
					w.pods[rs.UID][i] = true
				}
				w.observe(rs)
			}
			last = w.decide()
		}
		if last.create != nil || len(last.update) > 0 || len(last.delete) > 0 {
			t.Fatalf("seed %d: still changes something: %+v", seed, last)
		}
		if !complete(w.d, &w.d.Status) {
			t.Fatalf("seed %d: not complete: %+v", seed, w.d.Status)
		}
		if c := condition(&w.d.Status, appsv1.DeploymentProgressing); c == nil || c.Reason != reasonComplete {
			t.Fatalf("seed %d: condition is %+v", seed, c)
		}
		_, old := split(w.d, w.sets)
		if len(old) > int(*w.d.Spec.RevisionHistoryLimit) {
			t.Fatalf("seed %d: %d old sets are left", seed, len(old))
		}
	}
}
