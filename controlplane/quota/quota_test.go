package quota

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func parse[T kind.Object](t *testing.T, text string) T {
	t.Helper()
	obj := kind.Of[T]().New().(T)
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// TestUsage is what objects use, as Kubernetes counts it.
func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		obj  kind.Object
		want string
	}{
		"pod": {parse[*corev1.Pod](t, `
spec:
  initContainers: [{name: i, image: x, resources: {requests: {cpu: "3", memory: 1Gi}}}]
  containers:
  - {name: a, image: x, resources: {requests: {cpu: "1", memory: 1Gi, ephemeral-storage: 1Gi, example.com/gpu: "2"}, limits: {cpu: "2", memory: 2Gi, ephemeral-storage: 2Gi, example.com/gpu: "2"}}}
  - {name: b, image: x, resources: {requests: {cpu: 500m, hugepages-2Mi: 4Mi}, limits: {hugepages-2Mi: 4Mi}}}
  overhead: {cpu: 100m}`),
			"count/pods=1,cpu=3100m,ephemeral-storage=1Gi,hugepages-2Mi=4Mi,limits.cpu=2100m,limits.ephemeral-storage=2Gi,limits.memory=2Gi,memory=1Gi,pods=1," +
				"requests.cpu=3100m,requests.ephemeral-storage=1Gi,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi,requests.memory=1Gi"},
		"ended pod":   {parse[*corev1.Pod](t, `{spec: {containers: [{name: a, resources: {requests: {cpu: "1"}}}]}, status: {phase: Failed}}`), "count/pods=1"},
		"lost pod":    {parse[*corev1.Pod](t, `{metadata: {deletionTimestamp: "2020-01-01T00:00:00Z", deletionGracePeriodSeconds: 30}, spec: {containers: [{name: a}]}}`), "count/pods=1"},
		"cluster IP":  {parse[*corev1.Service](t, `spec: {type: ClusterIP, ports: [{port: 1}]}`), "count/services=1,services=1"},
		"node port":   {parse[*corev1.Service](t, `spec: {type: NodePort, ports: [{port: 1}, {port: 2}]}`), "count/services=1,services=1,services.nodeports=2"},
		"balancer":    {parse[*corev1.Service](t, `spec: {type: LoadBalancer, ports: [{port: 1}]}`), "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"},
		"no port":     {parse[*corev1.Service](t, `spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 1}]}`), "count/services=1,services=1,services.loadbalancers=1"},
		"claim":       {parse[*corev1.PersistentVolumeClaim](t, `spec: {resources: {requests: {storage: 1500m}}}`), "count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=2"},
		"grown claim": {parse[*corev1.PersistentVolumeClaim](t, `{spec: {storageClassName: gold, resources: {requests: {storage: 1Gi}}}, status: {allocatedResources: {storage: 2Gi}}}`), "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,requests.storage=2Gi"},
		"secret":      {&corev1.Secret{}, "count/secrets=1,secrets=1"},
		"endpoints":   {&corev1.Endpoints{}, "count/endpoints=1"},
	} {
		t.Run(name, func(t *testing.T) {
			gr := kind.Builtin().ByType(tc.obj).GroupResource()
			used := For(gr).Usage(tc.obj)
			if got := format(used); got != tc.want {
				t.Errorf("uses %s\nwant %s", got, tc.want)
			}
			if n := len(For(gr).Counts(used)); n != len(used) {
				t.Errorf("%d of its %d resources count", n, len(used))
			}
		})
	}
}

func TestScopes(t *testing.T) {
	const best, burst = `{spec: {containers: [{name: a}]}}`, `{spec: {containers: [{name: a, resources: {requests: {cpu: "1"}}}]}}`
	const job = `{spec: {activeDeadlineSeconds: 5, priorityClassName: high, containers: [{name: a}]}}`
	const across = `{spec: {affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: z, namespaces: [x]}}]}}, containers: [{name: a}]}}`
	for _, tc := range []struct {
		spec, pod string
		want      bool
	}{
		{`{scopes: [Terminating]}`, job, true}, {`{scopes: [Terminating]}`, best, false}, {`{scopes: [NotTerminating]}`, best, true},
		{`{scopes: [BestEffort]}`, best, true}, {`{scopes: [BestEffort]}`, burst, false}, {`{scopes: [NotBestEffort, NotTerminating]}`, burst, true},
		{`{scopes: [PriorityClass]}`, job, true}, {`{scopes: [PriorityClass]}`, best, false},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high, low]}]}}`, job, true},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: NotIn, values: [high]}]}}`, job, false},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: NotIn, values: [high]}]}}`, best, true},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: DoesNotExist}]}}`, best, true},
		{`{scopes: [CrossNamespacePodAffinity]}`, across, true}, {`{scopes: [CrossNamespacePodAffinity]}`, best, false},
		{`{}`, best, true},
	} {
		q := parse[*corev1.ResourceQuota](t, "spec: "+tc.spec)
		if got := For(podResource).InScopes(q, parse[*corev1.Pod](t, tc.pod)); got != tc.want {
			t.Errorf("%s has %s: %v", tc.spec, tc.pod, got)
		}
	}
	if For(kind.Of[*corev1.Secret]().GroupResource()).InScopes(parse[*corev1.ResourceQuota](t, "spec: {scopes: [BestEffort]}"), &corev1.Secret{}) {
		t.Error("a secret is in a scope of pods")
	}
}

func TestCharge(t *testing.T) {
	pod := func(name, cpu string) *corev1.Pod {
		p := parse[*corev1.Pod](t, `{spec: {containers: [{name: `+name+`}]}}`)
		if cpu != "" {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		}
		return p
	}
	q := parse[*corev1.ResourceQuota](t, `{metadata: {name: q}, status: {hard: {requests.cpu: "2", pods: "9", secrets: "1"}, used: {requests.cpu: "1", pods: "1", secrets: "1"}}}`)
	if _, err := For(podResource).Charge(q, pod("a", ""), nil); err == nil || err.Error() != "failed quota: q: must specify requests.cpu for: a" {
		t.Errorf("without a request: %v", err)
	}
	charge, err := For(podResource).Charge(q, pod("a", "1500m"), nil)
	if err != nil || format(charge) != "pods=1,requests.cpu=1500m" {
		t.Fatalf("charged %s, %v", format(charge), err)
	}
	if err := Take(q, charge); err == nil || err.Error() != "exceeded quota: q, requested: requests.cpu=1500m, used: requests.cpu=1, limited: requests.cpu=2" {
		t.Errorf("too much: %v", err)
	}
	if charge, err = For(podResource).Charge(q, pod("a", "1500m"), pod("a", "1")); err != nil || format(charge) != "requests.cpu=500m" {
		t.Errorf("an update is charged %s, %v", format(charge), err)
	}
	if err := Take(q, charge); err != nil || format(q.Status.Used) != "pods=1,requests.cpu=1500m,secrets=1" {
		t.Errorf("used %s, %v", format(q.Status.Used), err)
	}
	Return(q, charge)
	if format(q.Status.Used) != "pods=1,requests.cpu=1,secrets=1" {
		t.Errorf("used %s after the return", format(q.Status.Used))
	}
	delete(q.Status.Used, corev1.ResourcePods)
	if _, err := For(podResource).Charge(q, pod("a", "1"), nil); err == nil || !strings.HasPrefix(err.Error(), "status unknown for quota: q, resources: pods,requests.cpu") {
		t.Errorf("with an unknown status: %v", err)
	}
}

// TestUncounted holds a count against charges that are under way.
func TestUncounted(t *testing.T) {
	amount := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourcePods: resource.MustParse(n)}
	}
	for _, tc := range []struct{ counted, had, open, want string }{
		{"3", "5", "0", "3"}, {"3", "5", "1", "4"}, {"3", "5", "2", "5"}, {"3", "5", "7", "5"}, {"5", "3", "2", "5"},
	} {
		got := Uncounted(amount(tc.counted), amount(tc.had), amount(tc.open))
		if format(got) != "pods="+tc.want {
			t.Errorf("%+v: %s", tc, format(got))
		}
	}
}

func TestLedger(t *testing.T) {
	l := NewLedger()
	e := l.Begin("u", corev1.ResourceList{corev1.ResourcePods: one()})
	f := l.Begin("u", corev1.ResourceList{corev1.ResourcePods: one()})
	if sum, any := l.Open("u"); !any || format(sum) != "pods=2" {
		t.Errorf("open %s, %v", format(sum), any)
	}
	e.End()
	e.End()
	f.End()
	if _, any := l.Open("u"); any {
		t.Error("open after the end")
	}
	var none *Ledger
	none.Begin("u", nil).End()
	if _, any := none.Open("u"); any {
		t.Error("no ledger has open charges")
	}
}

func TestExpires(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	grace := int64(30)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: at}, DeletionGracePeriodSeconds: &grace}}
	if got := Expires(p, at); !got.Equal(at.Add(30 * time.Second)) {
		t.Errorf("expires %v", got)
	}
	if got := Expires(p, at.Add(time.Minute)); !got.IsZero() {
		t.Errorf("expires again %v", got)
	}
}
