package pod

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"": "", "x": "x", "$(A)": "1", "$(A)$(A)": "11", "$$(A)": "$(A)", "$$$(A)": "$1", "$(NO)": "$(NO)", "$(A": "$(A",
		"$": "$", "$x": "$x", "$(B)": "$(A)", "a$(A)b": "a1b", "$()": "$()",
	} {
		if got := expand(in, values); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if _, err := expandStrict("a/$(NO)", values); err == nil {
		t.Error("a missing value passed")
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(A)", "$$", "$(", "$(A)$$(B)$(", "$(A$(B))"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// Without dollar signs in the values nothing grows out of an expansion of nothing.
		if got := expand(s, nil); len(got) > len(s) {
			t.Errorf("%q grew to %q", s, got)
		}
		if !strings.Contains(s, "$") && expand(s, map[string]string{"A": "1"}) != s {
			t.Errorf("%q changed", s)
		}
	})
}

func TestEnvironmentSources(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", Labels: map[string]string{"l": "lv"}, Annotations: map[string]string{"a/b": "av"}}}
	pod.Spec.NodeName, pod.Spec.ServiceAccountName = "node", "sa"
	pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")}, Limits: corev1.ResourceList{"memory": resource.MustParse("10Mi")}}}}
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	res := func(name, res, div string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: res, Divisor: resource.MustParse(div)}}}
	}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{
		field("NAME", "metadata.name"), field("NS", "metadata.namespace"), field("UID", "metadata.uid"), field("L", "metadata.labels['l']"), field("AN", "metadata.annotations['a/b']"),
		field("NODE", "spec.nodeName"), field("SA", "spec.serviceAccountName"), field("HOST", "status.hostIP"), field("IP", "status.podIP"),
		res("CPU", "requests.cpu", "1m"), res("CPUS", "requests.cpu", "1"), res("MEM", "limits.memory", "1Mi"), res("ALL", "limits.cpu", "1"),
		{Name: "TWICE", Value: "$(NAME)-$(KUBERNETES_SERVICE_PORT)"},
	}
	svc := func(ns, name, ip string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "web-ui", Port: 443, Protocol: "TCP"}}}}
	}
	e := environment{
		pod: pod, container: &pod.Spec.Containers[0], hostIPs: []string{"192.0.2.1"}, podIPs: []string{"10.0.0.1"}, allocatable: corev1.ResourceList{"cpu": resource.MustParse("2")},
		services: []*corev1.Service{svc("default", "kubernetes", "10.96.0.1"), svc("n", "my-svc", "10.96.0.2"), svc("n", "headless", "None"), svc("default", "other", "10.96.0.3")},
	}
	_, got, err := e.resolve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"NAME=p", "NS=n", "UID=u", "L=lv", "AN=av", "NODE=node", "SA=sa", "HOST=192.0.2.1", "IP=10.0.0.1", "CPU=250", "CPUS=1", "MEM=10", "ALL=2", "TWICE=p-443",
		"KUBERNETES_SERVICE_HOST=10.96.0.1", "MY_SVC_SERVICE_PORT_WEB_UI=443", "MY_SVC_PORT=tcp://10.96.0.2:443", "MY_SVC_PORT_443_TCP_ADDR=10.96.0.2",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	if all := strings.Join(got, " "); strings.Contains(all, "HEADLESS") || strings.Contains(all, "OTHER") {
		t.Errorf("services that are not the pod's: %s", all)
	}
}

func TestFiles(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}}
	pod.Spec.Subdomain, pod.Spec.HostAliases = "sub", []corev1.HostAlias{{IP: "192.0.2.9", Hostnames: []string{"x", "y"}}}
	hosts, err := hostsFile(pod, "cluster.local", []netip.Addr{netip.MustParseAddr("10.0.0.1")})
	if err != nil || !strings.Contains(string(hosts), "10.0.0.1\tp.sub.n.svc.cluster.local\tp\n") || !strings.HasSuffix(string(hosts), "192.0.2.9\tx\ty\n") {
		t.Errorf("hosts %q %v", hosts, err)
	}
	host := parseResolv([]byte("# c\nnameserver 192.0.2.53\nsearch corp.example.\noptions timeout:1\n"))
	dns := DNS{Address: "169.254.20.10", Domain: "cluster.local"}
	two := "2"
	for _, tt := range []struct {
		name   string
		change func(*corev1.PodSpec)
		want   string
	}{
		{"cluster first", func(*corev1.PodSpec) {}, "search n.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 169.254.20.10\noptions ndots:5\n"},
		{"host network", func(s *corev1.PodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirst }, "search corp.example\nnameserver 192.0.2.53\noptions timeout:1\n"},
		{"host network, cluster first", func(s *corev1.PodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet }, "search n.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 169.254.20.10\noptions ndots:5\n"},
		{"none", func(s *corev1.PodSpec) {
			s.DNSPolicy, s.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Searches: []string{"a"}}
		}, "search a\nnameserver 192.0.2.1\n"},
		{"options", func(s *corev1.PodSpec) {
			s.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
		}, "search n.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 169.254.20.10\noptions ndots:2 edns0\n"},
	} {
		p := pod.DeepCopy()
		tt.change(&p.Spec)
		if got := string(resolvFile(p, dns, host)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	pod.Name = strings.Repeat("a", 62) + "-b"
	if h := hostname(pod, "d"); h != strings.Repeat("a", 62) {
		t.Errorf("hostname %q", h)
	}
}

func FuzzParseResolv(f *testing.F) {
	f.Add([]byte("nameserver 1.2.3.4\nsearch a b\noptions x:1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := parseResolv(data)
		if again := parseResolv(r.bytes()); !slices.Equal(again.servers, r.servers) {
			t.Errorf("%q and %q", r.servers, again.servers)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.6Z stdout F text\n"))
	f.Add([]byte("2026-01-02T03:04:05.6Z stderr P:x \n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseEntry(line)
		if err == nil && len(e.text) > len(line) {
			t.Errorf("%q", line)
		}
	})
}

func TestBackoff(t *testing.T) {
	var b backoff
	now := time.Unix(1000, 0)
	for i, want := range []time.Duration{0, 10, 20, 40, 80, 160, 300, 300} {
		until := b.until(now)
		if got := until.Sub(now); got != want*time.Second {
			t.Errorf("attempt %d waits %v, want %vs", i, got, int(want))
		}
		b.next(now, until)
		now = until
	}
	if late := now.Add(backoffForget + time.Second); b.until(late) != late {
		t.Error("a long success is not rewarded")
	}
}

func TestOOMScore(t *testing.T) {
	c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"memory": resource.MustParse("1Gi")}}}
	for class, want := range map[corev1.PodQOSClass]int{corev1.PodQOSGuaranteed: -997, corev1.PodQOSBestEffort: 1000, corev1.PodQOSBurstable: 750} {
		pod := &corev1.Pod{Status: corev1.PodStatus{QOSClass: class}}
		if got := oomScore(pod, &c, 4<<30); got != want {
			t.Errorf("%s: %d, want %d", class, got, want)
		}
	}
}
