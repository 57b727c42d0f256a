package endpoints

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func testService(target intstr.IntOrString) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.7", Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: target}},
		},
	}
}

func testPod(name, ip string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func leaving(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
func failed(p *corev1.Pod)  { p.Status.Phase = corev1.PodFailed }
func named(p *corev1.Pod)   { p.Spec.Hostname, p.Spec.Subdomain = "db-0", "web" }

func zoneOf(string) string { return "z1" }

func TestEndpointOfPod(t *testing.T) {
	for _, tc := range []struct {
		name     string
		edits    []func(*corev1.Pod)
		publish  bool
		want     string // ready serving terminating, "" for none
		hostname string
	}{
		{name: "ready", want: "true true false"},
		{name: "not ready", edits: []func(*corev1.Pod){unready}, want: "false false false"},
		{name: "not ready but published", edits: []func(*corev1.Pod){unready}, publish: true, want: "true false false"},
		{name: "terminating", edits: []func(*corev1.Pod){leaving}, want: "false true true"},
		{name: "failed", edits: []func(*corev1.Pod){failed}},
		{name: "no address", edits: []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.PodIP = "" }}},
		{name: "with a name of its own", edits: []func(*corev1.Pod){named}, want: "true true false", hostname: "db-0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := testService(intstr.FromInt32(8080))
			svc.Spec.PublishNotReadyAddresses = tc.publish
			groups := endpointsOf(svc, []*corev1.Pod{testPod("p", "10.0.0.1", tc.edits...)}, zoneOf)
			if tc.want == "" {
				if len(groups) != 0 {
					t.Errorf("got %v", groups)
				}
				return
			}
			for _, g := range groups {
				e := g.endpoints["10.0.0.1"]
				if got := fmt.Sprint(*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating); got != tc.want {
					t.Errorf("ready, serving, terminating: %s, want %s", got, tc.want)
				}
				if *e.Zone != "z1" || *e.NodeName != "n" || e.TargetRef.Name != "p" || deref(e.Hostname) != tc.hostname {
					t.Errorf("endpoint is %+v", e)
				}
			}
		})
	}
}

func TestNamedPortsGroupPods(t *testing.T) {
	other := testPod("b", "10.0.0.2", func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 })
	none := testPod("c", "10.0.0.3", func(p *corev1.Pod) { p.Spec.Containers[0].Ports = nil })
	svc := testService(intstr.FromString("web"))
	groups := endpointsOf(svc, []*corev1.Pod{testPod("a", "10.0.0.1"), other, none}, zoneOf)
	p := planService(svc, groups, nil)
	if len(p.create) != 2 {
		t.Fatalf("%d slices", len(p.create))
	}
	ports := map[int32]string{}
	for _, s := range p.create {
		ports[*s.Ports[0].Port] = s.Endpoints[0].Addresses[0]
	}
	if ports[8080] != "10.0.0.1" || ports[9090] != "10.0.0.2" {
		t.Errorf("addresses by port: %v", ports)
	}
	if e := legacyFor(svc, groups); len(e.Subsets) != 2 {
		t.Errorf("subsets are %+v", e.Subsets)
	}
}

func TestEmptyServiceHasOneEmptySlice(t *testing.T) {
	svc := testService(intstr.FromInt32(8080))
	svc.Spec.ClusterIP = corev1.ClusterIPNone
	p := planService(svc, endpointsOf(svc, nil, zoneOf), nil)
	if len(p.create) != 1 || len(p.create[0].Endpoints) != 0 {
		t.Fatalf("plan is %+v", p)
	}
	l := p.create[0].Labels
	if _, headless := l[corev1.IsHeadlessService]; !headless || l["team"] != "a" || l[discoveryv1.LabelServiceName] != "web" || l[discoveryv1.LabelManagedBy] != managedBy {
		t.Errorf("labels are %v", l)
	}
	if again := planService(svc, endpointsOf(svc, nil, zoneOf), p.create); len(again.create)+len(again.update)+len(again.delete) != 0 {
		t.Errorf("a second look changes %+v", again)
	}
}

// Whatever pods come and go, the slices list exactly the ready ones, none is too long, a look without a change
// writes nothing, and one pod's change touches one slice.
func TestSlicesFollowPods(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	svc := testService(intstr.FromInt32(8080))
	var have []*discoveryv1.EndpointSlice
	pods := map[string]*corev1.Pod{}
	next := 0
	apply := func() slicePlan {
		list := []*corev1.Pod{}
		for _, p := range pods {
			list = append(list, p)
		}
		p := planService(svc, endpointsOf(svc, list, zoneOf), have)
		byName := map[string]*discoveryv1.EndpointSlice{}
		for _, s := range have {
			byName[s.Name] = s
		}
		for _, s := range p.delete {
			delete(byName, s.Name)
		}
		for _, s := range p.update {
			byName[s.Name] = s
		}
		for _, s := range p.create {
			next++
			s.Name = fmt.Sprintf("web-%d", next)
			byName[s.Name] = s
		}
		have = have[:0:0]
		for _, s := range byName {
			have = append(have, s)
		}
		return p
	}
	for range 60 {
		for range r.IntN(80) {
			i := r.IntN(400)
			name := fmt.Sprint("p", i)
			if pods[name] != nil {
				delete(pods, name)
			} else {
				pods[name] = testPod(name, fmt.Sprintf("10.0.%d.%d", i/200, i%200+1))
			}
		}
		apply()
		listed := map[string]bool{}
		for _, s := range have {
			if len(s.Endpoints) > maxPerSlice || len(s.Endpoints) == 0 && len(have) > 1 {
				t.Fatalf("a slice of %d", len(s.Endpoints))
			}
			for _, e := range s.Endpoints {
				if listed[e.Addresses[0]] || pods[e.TargetRef.Name] == nil {
					t.Fatalf("%s is listed twice or without a pod", e.Addresses[0])
				}
				listed[e.Addresses[0]] = true
			}
		}
		if len(listed) != len(pods) {
			t.Fatalf("%d endpoints of %d pods", len(listed), len(pods))
		}
		if p := apply(); len(p.create)+len(p.update)+len(p.delete) > 0 {
			t.Fatalf("a second look changes %+v", p)
		}
		for name, p := range pods {
			next++
			pods[name] = testPod(name, p.Status.PodIP, func(p *corev1.Pod) { p.Spec.NodeName = fmt.Sprint("n", next) })
			break
		}
		if p := apply(); len(pods) > 0 && len(p.create)+len(p.update)+len(p.delete) != 1 {
			t.Fatalf("one pod's change: %+v", p)
		}
	}
}

func TestLegacyEndpoints(t *testing.T) {
	svc := testService(intstr.FromInt32(8080))
	list := []*corev1.Pod{testPod("a", "10.0.0.1"), testPod("b", "10.0.0.2", unready), testPod("c", "10.0.0.3", leaving)}
	e := legacyFor(svc, endpointsOf(svc, list, zoneOf))
	s := e.Subsets[0]
	if len(e.Subsets) != 1 || len(s.Addresses) != 1 || s.Addresses[0].IP != "10.0.0.1" || len(s.NotReadyAddresses) != 1 || s.NotReadyAddresses[0].IP != "10.0.0.2" {
		t.Errorf("subsets are %+v", e.Subsets)
	}
	if s.Ports[0].Port != 8080 || s.Ports[0].Name != "http" {
		t.Errorf("ports are %+v", s.Ports)
	}
	list = nil
	for i := range maxAddresses + 5 {
		list = append(list, testPod(fmt.Sprint("p", i), fmt.Sprintf("10.0.%d.%d", i/200, i%200+1)))
	}
	e = legacyFor(svc, endpointsOf(svc, list, zoneOf))
	if len(e.Subsets[0].Addresses) != maxAddresses || e.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("%d addresses, annotations %v", len(e.Subsets[0].Addresses), e.Annotations)
	}
}
