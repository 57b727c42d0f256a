package pod

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DNS is how pods resolve names.
type DNS struct {
	Address string // of the node's server for pods
	Domain  string // of the cluster
	// HostFile is the host's resolver configuration, for pods that want it. Empty: /etc/resolv.conf.
	HostFile string
}

const maxHostname = 63

// hostname is what the pod's UTS namespace gets.
func hostname(pod *corev1.Pod, domain string) string {
	if o := pod.Spec.HostnameOverride; o != nil {
		return *o
	}
	name := pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	if f := pod.Spec.SetHostnameAsFQDN; f != nil && *f && pod.Spec.Subdomain != "" {
		return name + "." + subdomain(pod, domain)
	}
	return name
}

func subdomain(pod *corev1.Pod, domain string) string {
	return pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + domain
}

// hostsFile is /etc/hosts of a pod with these addresses.
func hostsFile(pod *corev1.Pod, domain string, ips []netip.Addr) ([]byte, error) {
	var b bytes.Buffer
	if pod.Spec.HostNetwork {
		host, err := os.ReadFile("/etc/hosts")
		if err != nil {
			return nil, fmt.Errorf("cannot make hosts file: %w", err)
		}
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(host)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		name := hostname(pod, domain)
		for _, ip := range ips {
			if pod.Spec.Subdomain != "" && pod.Spec.HostnameOverride == nil {
				short, _, _ := strings.Cut(name, ".")
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, short, subdomain(pod, domain), name)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, name)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.Bytes(), nil
}

// resolver is the content of a resolv.conf.
type resolver struct {
	servers, search, options []string
}

func (r resolver) bytes() []byte {
	var b bytes.Buffer
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.Bytes()
}

// resolvFile is /etc/resolv.conf as the pod's DNS policy and configuration say.
func resolvFile(pod *corev1.Pod, dns DNS, host resolver) []byte {
	var r resolver
	policy := pod.Spec.DNSPolicy
	if pod.Spec.HostNetwork && (policy == corev1.DNSClusterFirst || policy == "") {
		policy = corev1.DNSDefault
	}
	switch policy {
	case corev1.DNSNone:
	case corev1.DNSDefault:
		r = host
	default:
		r.servers = []string{dns.Address}
		r.search = append([]string{pod.Namespace + ".svc." + dns.Domain, "svc." + dns.Domain, dns.Domain}, host.search...)
		r.options = []string{"ndots:5"}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.servers = unique(append(slices.Clone(r.servers), c.Nameservers...))
		r.search = unique(append(slices.Clone(r.search), c.Searches...))
		r.options = mergeOptions(r.options, c.Options)
	}
	return r.bytes()
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func mergeOptions(have []string, more []corev1.PodDNSConfigOption) []string {
	out := slices.Clone(have)
	for _, o := range more {
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		i := slices.IndexFunc(out, func(s string) bool {
			name, _, _ := strings.Cut(s, ":")
			return name == o.Name
		})
		if i >= 0 {
			out[i] = text
		} else {
			out = append(out, text)
		}
	}
	return out
}

// parseResolv reads a resolv.conf; what it does not know it passes over, as resolvers do.
func parseResolv(data []byte) resolver {
	var r resolver
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.servers = append(r.servers, f[1])
		case "search", "domain":
			r.search = nil
			for _, s := range f[1:] {
				if s != "." {
					r.search = append(r.search, strings.TrimSuffix(s, "."))
				}
			}
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

// writeFiles makes the files that all containers of the pod see under /etc.
func writeFiles(dir string, pod *corev1.Pod, dns DNS, ips []netip.Addr) error {
	hosts, err := hostsFile(pod, dns.Domain, ips)
	if err != nil {
		return err
	}
	hostFile := dns.HostFile
	if hostFile == "" {
		hostFile = "/etc/resolv.conf"
	}
	var host resolver
	if data, err := os.ReadFile(hostFile); err == nil {
		host = parseResolv(data)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot write pod's files: %w", err)
	}
	for name, data := range map[string][]byte{
		"hosts": hosts, "resolv.conf": resolvFile(pod, dns, host), "hostname": []byte(hostname(pod, dns.Domain) + "\n"),
	} {
		// Written in place: running containers have the file itself mounted.
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("cannot write pod's files: %w", err)
		}
	}
	return nil
}
