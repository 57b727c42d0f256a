package dns

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestResolvConf(t *testing.T) {
	host := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(host, []byte("# host\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.com. corp.example\noptions timeout:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := ResolvConfig{Address: netip.MustParseAddr("169.254.20.10"), Domain: "cluster.local", HostFile: host}
	own := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.9"}, Searches: []string{"own.example"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}, {Name: "edns0"}},
	}
	const cluster = "search ns.svc.cluster.local svc.cluster.local cluster.local example.com corp.example"
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"cluster first":                  {corev1.PodSpec{}, "nameserver 169.254.20.10\n" + cluster + "\noptions ndots:5\n"},
		"cluster first on host network":  {corev1.PodSpec{HostNetwork: true}, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.com corp.example\noptions timeout:1\n"},
		"cluster first with host net":    {corev1.PodSpec{HostNetwork: true, DNSPolicy: corev1.DNSClusterFirstWithHostNet}, "nameserver 169.254.20.10\n" + cluster + "\noptions ndots:5\n"},
		"default":                        {corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.com corp.example\noptions timeout:1\n"},
		"none":                           {corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: own}, "nameserver 192.0.2.9\nsearch own.example\noptions ndots:2 edns0\n"},
		"none without servers":           {corev1.PodSpec{DNSPolicy: corev1.DNSNone}, ""},
		"unknown":                        {corev1.PodSpec{DNSPolicy: "Other"}, ""},
		"cluster first with own options": {corev1.PodSpec{DNSConfig: own}, "nameserver 169.254.20.10\nnameserver 192.0.2.9\n" + cluster + " own.example\noptions ndots:2 edns0\n"},
	} {
		got, err := ResolvConf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: c.spec}, cfg)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s:\n got %q, %v\nwant %q", name, got, err, c.want)
		}
	}
	cfg.HostFile = filepath.Join(t.TempDir(), "none")
	if _, err := os.Stat(cfg.HostFile); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if got, err := ResolvConf(&corev1.Pod{Spec: corev1.PodSpec{DNSPolicy: corev1.DNSDefault}}, cfg); err != nil || len(got) != 0 {
		t.Errorf("without the host's file: %q, %v", got, err)
	}
}

func FuzzParseResolver(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\noptions ndots:5 edns0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := parseResolver(data)
		again := parseResolver(r.encode())
		if string(again.encode()) != string(r.encode()) {
			t.Errorf("%q is read as %q, then as %q", data, r.encode(), again.encode())
		}
	})
}
