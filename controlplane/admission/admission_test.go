package admission_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// start returns a control plane with the namespace "default" and its service account.
func start(t testing.TB) client.Client {
	t.Helper()
	c := plane.Start(t)
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	return c
}

func create[T kind.Object](t testing.TB, c client.Client, obj T) T {
	t.Helper()
	got, err := client.Create(t.Context(), c, obj)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func parse[T kind.Object](t *testing.T, text string) T {
	t.Helper()
	obj := kind.Of[T]().New().(T)
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("cannot parse %s: %v", text, err)
	}
	obj.SetNamespace("default")
	return obj
}

func aPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x:1"}}},
	}
}

func refused(t *testing.T, err error, is func(error) bool, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("it was allowed, want: %s", text)
	}
	if !is(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("refused with %v, want: %s", err, text)
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	lost := aPod("p")
	lost.Namespace = "nowhere"
	_, err := client.Create(ctx, c, lost)
	refused(t, err, apierrors.IsNotFound, `namespaces "nowhere" not found`)

	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going"}})
	if err := client.Delete[*corev1.Namespace](ctx, c, "", "going", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.Create(ctx, c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "going", Name: "x"}})
	refused(t, err, apierrors.IsForbidden, "because it is being terminated")
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("%v does not name the cause %s", err, corev1.NamespaceTerminatingCause)
	}
	err = client.Delete[*corev1.Namespace](ctx, c, "", "default", metav1.DeleteOptions{})
	refused(t, err, apierrors.IsForbidden, "this namespace may not be deleted")
}

func TestServiceAccount(t *testing.T) {
	c := start(t)
	create(t, c, &corev1.ServiceAccount{
		ObjectMeta:       metav1.ObjectMeta{Namespace: "default", Name: "puller"},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
	})
	no := false
	for _, tc := range []struct {
		name                string
		change              func(*corev1.Pod)
		volumes, mounts     int
		account, pullSecret string
	}{
		{"default", func(*corev1.Pod) {}, 1, 1, "default", ""},
		{"named", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "puller" }, 1, 1, "puller", "registry"},
		{"opted-out", func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &no }, 0, 0, "default", ""},
		{"own-mount", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v"}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}
		}, 1, 1, "default", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := aPod(tc.name)
			tc.change(p)
			got := create(t, c, p)
			if len(got.Spec.Volumes) != tc.volumes || len(got.Spec.Containers[0].VolumeMounts) != tc.mounts {
				t.Errorf("volumes %v, mounts %v", got.Spec.Volumes, got.Spec.Containers[0].VolumeMounts)
			}
			if got.Spec.ServiceAccountName != tc.account || got.Spec.DeprecatedServiceAccount != tc.account {
				t.Errorf("account is %q, want %q", got.Spec.ServiceAccountName, tc.account)
			}
			if has := len(got.Spec.ImagePullSecrets) == 1; has != (tc.pullSecret != "") {
				t.Errorf("pull secrets are %v", got.Spec.ImagePullSecrets)
			}
		})
	}
	p := aPod("projection")
	p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "x:1"}}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "d", Image: "x:1"})
	got := create(t, c, p)
	volume := got.Spec.Volumes[0]
	seconds, mode := int64(3607), int32(0o644)
	want := &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
			Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
	if !strings.HasPrefix(volume.Name, "kube-api-access-") || !reflect.DeepEqual(volume.Projected, want) {
		t.Errorf("volume %s has %v, want %v", volume.Name, volume.Projected, want)
	}
	for _, container := range slices.Concat(got.Spec.InitContainers, got.Spec.Containers) {
		mount := corev1.VolumeMount{Name: volume.Name, ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}
		if !reflect.DeepEqual(container.VolumeMounts, []corev1.VolumeMount{mount}) {
			t.Errorf("container %s mounts %v, want %v", container.Name, container.VolumeMounts, mount)
		}
	}
	p = aPod("stranger")
	p.Spec.ServiceAccountName = "nobody"
	_, err := client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, `error looking up service account default/nobody: serviceaccount "nobody" not found`)
}

// TestDefaultAccountIsAwaited makes a pod in a namespace whose account comes a moment later.
func TestDefaultAccountIsAwaited(t *testing.T) {
	c := start(t)
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		after := time.NewTimer(50 * time.Millisecond) // well within what the pod waits
		defer after.Stop()
		<-after.C
		_, err := client.Create(t.Context(), c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "default"}})
		if err != nil {
			t.Error(err)
		}
	})
	p := aPod("p")
	p.Namespace = "new"
	if _, err := client.Create(t.Context(), c, p); err != nil {
		t.Error(err)
	}
}

func TestTolerations(t *testing.T) {
	c := start(t)
	p := aPod("p")
	own := int64(5)
	p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &own}}
	got := create(t, c, p)
	seconds := map[string]int64{}
	for _, tol := range got.Spec.Tolerations {
		seconds[tol.Key] = *tol.TolerationSeconds
	}
	if len(seconds) != 2 || seconds[corev1.TaintNodeNotReady] != 5 || seconds[corev1.TaintNodeUnreachable] != 300 {
		t.Errorf("tolerates %v", seconds)
	}
	all := aPod("all")
	all.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	if got := create(t, c, all); len(got.Spec.Tolerations) != 1 {
		t.Errorf("a pod that tolerates everything got %v", got.Spec.Tolerations)
	}
}

func TestPriority(t *testing.T) {
	c := start(t)
	if got := create(t, c, aPod("none")); *got.Spec.Priority != 0 || *got.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("priority %d, preemption %s", *got.Spec.Priority, *got.Spec.PreemptionPolicy)
	}
	never := corev1.PreemptNever
	create(t, c, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 100, PreemptionPolicy: &never})
	create(t, c, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 7, GlobalDefault: true})
	for class, want := range map[string]int32{"high": 100, "": 7, "system-node-critical": 2000001000} {
		p := aPod("p" + class)
		p.Spec.PriorityClassName = class
		if got := create(t, c, p); *got.Spec.Priority != want {
			t.Errorf("class %q is %d, want %d", class, *got.Spec.Priority, want)
		}
	}
	p := aPod("missing")
	p.Spec.PriorityClassName = "missing"
	_, err := client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, "no PriorityClass with name missing was found")
	p = aPod("forged")
	forged := int32(3)
	p.Spec.Priority = &forged
	_, err = client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, "the integer value of priority (3) must not be provided in pod spec")
	_, err = client.Create(t.Context(), c, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, GlobalDefault: true})
	refused(t, err, apierrors.IsForbidden, "usual is already marked as default")
	create(t, c, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "system-node-critical"}, Value: 2000001000})
	err = client.Delete[*schedulingv1.PriorityClass](t.Context(), c, "", "system-node-critical", metav1.DeleteOptions{})
	refused(t, err, apierrors.IsForbidden, "this is a system priority class and cannot be deleted")
}

// TestMountableSecrets holds pods to the secrets of an account that asks for it.
func TestMountableSecrets(t *testing.T) {
	c := start(t)
	create(t, c, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets:    []corev1.ObjectReference{{Name: "listed"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
	})
	for i, tc := range []struct{ spec, why string }{
		{"containers: [{name: c, image: x, envFrom: [{secretRef: {name: listed}}]}]\n  volumes: [{name: v, secret: {secretName: listed}}]", ""},
		{"containers: [{name: c, image: x}]\n  volumes: [{name: v, secret: {secretName: other}}]", `volume with secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{"containers: [{name: c, image: x, env: [{name: E, valueFrom: {secretKeyRef: {name: other, key: k}}}]}]", `container c with envVar E referencing secret.secretName="other"`},
		{"containers: [{name: c, image: x}]\n  initContainers: [{name: i, image: x, envFrom: [{secretRef: {name: other}}]}]", `init container i with envFrom referencing secret.secretName="other"`},
		{"containers: [{name: c, image: x}]\n  imagePullSecrets: [{name: other}]", `imagePullSecrets[0].name="other" is not allowed because service account strict does not reference that imagePullSecret`},
	} {
		pod := parse[*corev1.Pod](t, fmt.Sprintf("metadata: {name: p%d}\nspec:\n  serviceAccountName: strict\n  %s", i, tc.spec))
		_, err := client.Create(t.Context(), c, pod)
		if tc.why == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		refused(t, err, apierrors.IsForbidden, tc.why)
	}
}

// TestPodTopology gives pods the zone and region of their node, however they get there.
func TestPodTopology(t *testing.T) {
	c := start(t)
	create(t, c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r", "other": "x"}}})
	named := aPod("named")
	named.Spec.NodeName = "n"
	create(t, c, named)
	bound := create(t, c, aPod("bound"))
	if err := c.Bind(t.Context(), "default", "bound", bound.UID, "n"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"named", "bound"} {
		pod, err := client.Get[*corev1.Pod](t.Context(), c, "default", name)
		if err != nil {
			t.Fatal(err)
		}
		if pod.Labels[corev1.LabelTopologyZone] != "z" || pod.Labels[corev1.LabelTopologyRegion] != "r" || pod.Labels["other"] != "" {
			t.Errorf("labels of %s are %v", name, pod.Labels)
		}
	}
}

func service(name string, spec corev1.ServiceSpec) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
}

var web = []corev1.ServicePort{{Port: 80}}

func TestServiceAllocation(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	got := create(t, c, service("plain", corev1.ServiceSpec{Ports: web}))
	ip, err := netip.ParseAddr(got.Spec.ClusterIP)
	if err != nil || !plane.Services.Contains(ip) || !slices.Equal(got.Spec.ClusterIPs, []string{got.Spec.ClusterIP}) {
		t.Errorf("cluster IP is %q, %v", got.Spec.ClusterIP, got.Spec.ClusterIPs)
	}
	if *got.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || !slices.Equal(got.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv4Protocol}) {
		t.Errorf("families are %s %v", *got.Spec.IPFamilyPolicy, got.Spec.IPFamilies)
	}
	if low := netip.MustParseAddr("10.96.1.0"); ip.Less(low) {
		t.Errorf("%s was drawn from what is left to those who choose", ip)
	}
	create(t, c, service("chosen", corev1.ServiceSpec{Ports: web, ClusterIP: "10.96.0.10"}))
	_, err = client.Create(ctx, c, service("again", corev1.ServiceSpec{Ports: web, ClusterIP: "10.96.0.10"}))
	refused(t, err, apierrors.IsInvalid, `spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated`)
	_, err = client.Create(ctx, c, service("outside", corev1.ServiceSpec{Ports: web, ClusterIP: "10.1.0.1"}))
	refused(t, err, apierrors.IsInvalid, "the provided IP (10.1.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16")

	if got := create(t, c, service("headless", corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"a": "b"}})); got.Spec.ClusterIP != "None" || !slices.Equal(got.Spec.ClusterIPs, []string{"None"}) {
		t.Errorf("a headless service has %q %v", got.Spec.ClusterIP, got.Spec.ClusterIPs)
	}
	if got := create(t, c, service("outer", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "a.b"})); got.Spec.ClusterIP != "" || got.Spec.IPFamilyPolicy != nil {
		t.Errorf("an external name has %q %v", got.Spec.ClusterIP, got.Spec.IPFamilyPolicy)
	}
	both := corev1.IPFamilyPolicyRequireDualStack
	_, err = client.Create(ctx, c, service("dual", corev1.ServiceSpec{Ports: web, IPFamilyPolicy: &both}))
	refused(t, err, apierrors.IsInvalid, "this cluster is not configured for dual-stack services")
	_, err = client.Create(ctx, c, service("six", corev1.ServiceSpec{Ports: web, IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}}))
	refused(t, err, apierrors.IsInvalid, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster")
}

func TestNodePorts(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	got := create(t, c, service("dns", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{
		{Name: "udp", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "tcp", Port: 53}, {Name: "web", Port: 80},
	}}))
	p := got.Spec.Ports
	if p[0].NodePort < 30000 || p[0].NodePort > 32767 || p[0].NodePort != p[1].NodePort || p[1].NodePort == p[2].NodePort {
		t.Errorf("node ports are %v", p)
	}
	taken := []corev1.ServicePort{{Port: 80, NodePort: p[2].NodePort}}
	_, err := client.Create(ctx, c, service("taken", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: taken}))
	refused(t, err, apierrors.IsInvalid, "provided port is already allocated")
	_, err = client.Create(ctx, c, service("range", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 80}}}))
	refused(t, err, apierrors.IsInvalid, "provided port is not in the valid range. The range of valid ports is 30000-32767")

	lb := create(t, c, service("lb", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, Ports: web}))
	if lb.Spec.HealthCheckNodePort == 0 || lb.Spec.HealthCheckNodePort == lb.Spec.Ports[0].NodePort {
		t.Errorf("health check port %d, node port %d", lb.Spec.HealthCheckNodePort, lb.Spec.Ports[0].NodePort)
	}
	// a change that leaves the ports out keeps them; a change of type gives them back
	again := service("dns", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "web", Port: 80}}})
	kept, err := client.Update(ctx, c, again)
	if err != nil || kept.Spec.Ports[0].NodePort != p[2].NodePort || kept.Spec.ClusterIP != got.Spec.ClusterIP {
		t.Fatalf("kept %v %v, %v", kept.Spec.ClusterIP, kept.Spec.Ports, err)
	}
	freed := kept.DeepCopy()
	freed.Spec.Type = corev1.ServiceTypeClusterIP
	if freed, err = client.Update(ctx, c, freed); err != nil || freed.Spec.Ports[0].NodePort != 0 || freed.Spec.ExternalTrafficPolicy != "" {
		t.Fatalf("after the change of type %v, %v", freed, err)
	}
	create(t, c, service("now-free", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: taken}))
}

// TestAllocationUnderRace makes services at once and expects that no two share an address or a port.
func TestAllocationUnderRace(t *testing.T) {
	c := start(t)
	const workers, each = 8, 25
	var mu sync.Mutex
	held := map[string]string{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				name := strings.Join([]string{"s", string(rune('a' + w)), string(rune('a' + i))}, "-")
				s, err := client.Create(t.Context(), c, service(name, corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: web}))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, claim := range kind.Of[*corev1.Service]().Claims(s) {
					if other := held[claim]; other != "" {
						t.Errorf("%s and %s have %s", other, name, claim)
					}
					held[claim] = name
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(held) != 2*workers*each {
		t.Errorf("%d claims, want %d", len(held), 2*workers*each)
	}
}

func TestLimitRanges(t *testing.T) {
	c := start(t)
	create(t, c, parse[*corev1.LimitRange](t, `
metadata: {name: bounds}
spec:
  limits:
  - {type: Container, min: {cpu: 100m}, max: {cpu: "2"}, default: {cpu: "1"}, defaultRequest: {cpu: 200m}, maxLimitRequestRatio: {cpu: "10"}}
  - {type: Pod, max: {cpu: "3"}}`))
	got := create(t, c, aPod("plain"))
	if r := got.Spec.Containers[0].Resources; r.Limits.Cpu().String() != "1" || r.Requests.Cpu().String() != "200m" {
		t.Errorf("resources are %v", r)
	}
	for name, tc := range map[string]struct{ resources, want string }{
		"little": {"{requests: {cpu: 50m}}", "minimum cpu usage per Container is 100m, but request is 50m"},
		"much":   {"{limits: {cpu: 4}}", "maximum cpu usage per Container is 2, but limit is 4"},
		"ratio":  {"{requests: {cpu: 100m}, limits: {cpu: 2}}", "cpu max limit to request ratio per Container is 10"},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse[*corev1.Pod](t, "metadata: {name: "+name+"}\nspec: {containers: [{name: c, image: x, resources: "+tc.resources+"}]}")
			_, err := client.Create(t.Context(), c, p)
			refused(t, err, apierrors.IsForbidden, tc.want)
		})
	}
	p := parse[*corev1.Pod](t, "metadata: {name: together}\nspec: {containers: [{name: c, image: x, resources: {limits: {cpu: 2}}}, {name: d, image: x, resources: {limits: {cpu: 2}}}]}")
	_, err := client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, "maximum cpu usage per Pod is 3, but limit is 4")
}

func TestPodSecurity(t *testing.T) {
	c := start(t)
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted",
	}}})
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "strict", Name: "default"}})
	p := aPod("p")
	p.Namespace = "strict"
	create(t, c, p)
	yes := true
	p.Name = "q"
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	_, err := client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, `violates PodSecurity "baseline:latest": privileged`)
	p.Namespace = "default"
	create(t, c, p)
	_, err = client.Create(t.Context(), c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "typo", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "strictest"}}})
	refused(t, err, apierrors.IsInvalid, "must be one of privileged, baseline, restricted")
}

func TestDefaultRefusesRanges(t *testing.T) {
	none := func() client.Client { return nil }
	for name, o := range map[string]admission.Options{
		"no range":   {},
		"IPv6":       {ServiceCIDR: netip.MustParsePrefix("fd00::/112")},
		"one host":   {ServiceCIDR: netip.MustParsePrefix("10.0.0.1/32")},
		"port order": {ServiceCIDR: plane.Services, NodePorts: admission.PortRange{First: 9, Last: 8}},
	} {
		if _, err := admission.Default(none, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
