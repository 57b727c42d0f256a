package deployment

import (
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var epoch = time.Unix(1700000000, 0)

// testSet returns a set of d with that image, age and size, all of whose pods are available.
func testSet(d *appsv1.Deployment, name, image string, revision int, replicas int32) *appsv1.ReplicaSet {
	t := d.Spec.Template.DeepCopy()
	t.Spec.Containers[0].Image = image
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(revision) * time.Minute)),
			Annotations: map[string]string{revisionAnnotation: strconv.Itoa(revision)},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &replicas, Template: *t},
		Status: appsv1.ReplicaSetStatus{Replicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas},
	}
	markSize(d, rs, wanted(d.Spec.Replicas))
	return rs
}

func rollingOf(surge, unavailable string) *appsv1.RollingUpdateDeployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}
}

func TestBounds(t *testing.T) {
	for _, tc := range []struct {
		replicas           int32
		surge, unavailable string
		wantS, wantU       int32
	}{
		{10, "25%", "25%", 3, 2}, // surge rounds up, unavailability down
		{1, "25%", "25%", 1, 0},
		{4, "0", "0%", 0, 1},
		{3, "1", "5", 1, 3},
		{0, "25%", "25%", 0, 0},
	} {
		d := testDeployment(tc.replicas)
		d.Spec.Strategy.RollingUpdate = rollingOf(tc.surge, tc.unavailable)
		if s, u := bounds(d); s != tc.wantS || u != tc.wantU {
			t.Errorf("%+v: got %d and %d", tc, s, u)
		}
	}
}

func TestProportionalScaling(t *testing.T) {
	for _, tc := range []struct {
		name          string
		from, to      int32
		current, old  int32
		wantN, wantO  int32
		ready, paused bool
	}{
		{name: "grows in the middle", from: 10, to: 20, current: 5, old: 8, wantN: 10, wantO: 15},
		{name: "shrinks in the middle", from: 10, to: 5, current: 5, old: 8, wantN: 3, wantO: 4},
		{name: "only one has pods", from: 10, to: 7, current: 10, old: 0, wantN: 7, wantO: 0},
		{name: "to zero", from: 10, to: 0, current: 5, old: 8, wantN: 0, wantO: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := testDeployment(tc.from)
			d.Spec.Strategy.RollingUpdate = rollingOf("25%", "25%")
			old, current := testSet(d, "old", "web:0", 1, tc.old), testSet(d, "new", "web:1", 2, tc.current)
			current.Status.AvailableReplicas = 0
			d.Spec.Replicas = &tc.to
			if !resized(d, []*appsv1.ReplicaSet{old, current}) {
				t.Fatal("the change of size is not seen")
			}
			got := proportionalSizes(d, current, []*appsv1.ReplicaSet{old})
			if got.of(current) != tc.wantN || got.of(old) != tc.wantO {
				t.Errorf("new %d, old %d; want %d, %d", got.of(current), got.of(old), tc.wantN, tc.wantO)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	d := testDeployment(3)
	d.Spec.Strategy.RollingUpdate = rollingOf("1", "0")
	t.Run("first set", func(t *testing.T) {
		p, err := decide(d, nil, false, epoch)
		if err != nil {
			t.Fatal(err)
		}
		rs := p.create
		hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		if hash == "" || rs.Name != "web-"+hash || rs.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash ||
			rs.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash || *rs.Spec.Replicas != 3 {
			t.Errorf("set is %+v", rs)
		}
		if p.revision != "1" || rs.Annotations[revisionAnnotation] != "1" || rs.Annotations[desiredAnnotation] != "3" || rs.Annotations[maxAnnotation] != "4" {
			t.Errorf("revision %q, annotations %v", p.revision, rs.Annotations)
		}
		if c := condition(&p.status, appsv1.DeploymentProgressing); c.Reason != reasonNewSet || !strings.Contains(c.Message, rs.Name) {
			t.Errorf("condition is %+v", c)
		}
	})
	t.Run("first set of none", func(t *testing.T) {
		d := testDeployment(0)
		p, err := decide(d, nil, false, epoch)
		if err != nil {
			t.Fatal(err)
		}
		// what changed last is the last, and it is said of the set
		if c := p.status.Conditions; len(c) != 2 || c[0].Type != appsv1.DeploymentAvailable || c[1].Reason != reasonComplete ||
			c[1].Message != `ReplicaSet "`+p.create.Name+`" has successfully progressed.` {
			t.Errorf("conditions are %+v", c)
		}
	})
	t.Run("another template surges first", func(t *testing.T) {
		p, err := decide(d, []*appsv1.ReplicaSet{testSet(d, "old", "web:0", 1, 3)}, false, epoch)
		if err != nil || *p.create.Spec.Replicas != 1 || p.revision != "2" {
			t.Errorf("plan is %+v, %v", p, err)
		}
	})
	t.Run("rollback takes the next revision and remembers its own", func(t *testing.T) {
		back, newer := testSet(d, "back", "web:1", 1, 0), testSet(d, "newer", "web:2", 2, 3)
		p, err := decide(d, []*appsv1.ReplicaSet{back, newer}, false, epoch)
		if err != nil || len(p.update) != 1 {
			t.Fatalf("plan is %+v, %v", p, err)
		}
		a := p.update[0].new.Annotations
		if a[revisionAnnotation] != "3" || a[revisionHistoryAnnotation] != "1" || p.revision != "3" || *p.update[0].new.Spec.Replicas != 1 {
			t.Errorf("annotations %v, revision %q", a, p.revision)
		}
	})
	t.Run("paused does not roll", func(t *testing.T) {
		paused := d.DeepCopy()
		paused.Spec.Paused = true
		p, err := decide(paused, []*appsv1.ReplicaSet{testSet(d, "old", "web:0", 1, 3)}, false, epoch)
		if err != nil || p.create != nil || len(p.update) > 0 {
			t.Errorf("plan is %+v, %v", p, err)
		}
		if c := condition(&p.status, appsv1.DeploymentProgressing); c.Reason != reasonPaused || c.Status != corev1.ConditionUnknown {
			t.Errorf("condition is %+v", c)
		}
	})
	t.Run("recreate waits for old pods", func(t *testing.T) {
		recreate := d.DeepCopy()
		recreate.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		old := testSet(recreate, "old", "web:0", 1, 3)
		p, err := decide(recreate, []*appsv1.ReplicaSet{old}, true, epoch)
		if err != nil || p.create != nil || len(p.update) != 1 || *p.update[0].new.Spec.Replicas != 0 {
			t.Fatalf("plan is %+v, %v", p, err)
		}
		if p, err = decide(recreate, []*appsv1.ReplicaSet{p.update[0].new}, true, epoch); err != nil || p.create != nil {
			t.Fatalf("did not wait: %+v, %v", p, err)
		}
		if p, err = decide(recreate, []*appsv1.ReplicaSet{testSet(recreate, "old", "web:0", 1, 0)}, false, epoch); err != nil || p.create == nil {
			t.Fatalf("did not go on: %+v, %v", p, err)
		}
	})
}

func TestProgressDeadline(t *testing.T) {
	d := testDeployment(3)
	d.Spec.Strategy.RollingUpdate = rollingOf("1", "0")
	rs := testSet(d, "new", "web:1", 1, 3)
	rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = 0, 0
	sets := []*appsv1.ReplicaSet{rs}
	look := func(now time.Time) (string, time.Duration) {
		p, err := decide(d, sets, false, now)
		if err != nil {
			t.Fatal(err)
		}
		d.Status = p.status
		return condition(&d.Status, appsv1.DeploymentProgressing).Reason, p.after
	}
	if reason, after := look(epoch); reason != reasonUpdated || after != 601*time.Second {
		t.Fatalf("at first %s, again after %s", reason, after)
	}
	rs.Status.ReadyReplicas = 1
	if reason, after := look(epoch.Add(500 * time.Second)); reason != reasonUpdated || after != 601*time.Second {
		t.Fatalf("a ready pod did not start the clock anew: %s, %s", reason, after)
	}
	if reason, after := look(epoch.Add(1101 * time.Second)); reason != reasonTimedOut || after != 0 {
		t.Fatalf("late: %s, %s", reason, after)
	}
	rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = 3, 3
	if reason, _ := look(epoch.Add(1200 * time.Second)); reason != reasonComplete {
		t.Fatalf("done: %s", reason)
	}
	if c := condition(&d.Status, appsv1.DeploymentAvailable); c.Status != corev1.ConditionTrue || c.Reason != reasonAvailable {
		t.Errorf("available is %+v", c)
	}
}

func TestFailureIsShown(t *testing.T) {
	d := testDeployment(1)
	rs := testSet(d, "new", "web:1", 1, 1)
	rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "quota"}}
	p, err := decide(d, []*appsv1.ReplicaSet{rs}, false, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if c := condition(&p.status, appsv1.DeploymentReplicaFailure); c == nil || c.Message != "quota" {
		t.Errorf("condition is %+v", c)
	}
}

func TestCollisionChangesTheName(t *testing.T) {
	d := testDeployment(1)
	a, err := newSet(d, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	n := int32(1)
	d.Status.CollisionCount = &n
	b, err := newSet(d, 1, 1)
	if err != nil || a.Name == b.Name {
		t.Errorf("%s and %s, %v", a.Name, b.Name, err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	list := ""
	for i := range int64(2000) {
		list = history(list, i)
	}
	if len(list) > maxHistory || !strings.HasSuffix(list, ",1999") {
		t.Errorf("%d bytes, ends in %s", len(list), list[len(list)-10:])
	}
}
