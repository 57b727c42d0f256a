package dns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Limits that resolvers of pods are known to have: glibc reads three nameservers, and 32 search domains of 2048
// characters in all are what the API allows. What exceeds them is left out, the last first, as a kubelet does.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

const (
	// HostFile is where a host keeps its resolver's configuration.
	HostFile = "/etc/resolv.conf"
	// resolvedFile has the real upstream servers where HostFile only names systemd-resolved's loopback address.
	resolvedFile = "/run/systemd/resolve/resolv.conf"
)

// ResolvConfig says what a pod's resolv.conf is made from.
type ResolvConfig struct {
	Address  netip.Addr // of the node's DNS server
	Domain   string     // of the cluster, "cluster.local"
	HostFile string     // empty: HostFile, or systemd-resolved's file where that one is of no use outside the host
}

// ResolvConf returns the resolv.conf of a pod, by its dnsPolicy and dnsConfig.
func ResolvConf(pod *corev1.Pod, cfg ResolvConfig) ([]byte, error) {
	host, err := readHost(cfg.HostFile)
	if err != nil {
		return nil, err
	}
	var out resolver
	policy := pod.Spec.DNSPolicy
	if policy == "" {
		policy = corev1.DNSClusterFirst
	}
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	switch policy {
	case corev1.DNSDefault:
		out = host
		// A loopback address is another machine's in the pod: the node's own server forwards to it.
		if !pod.Spec.HostNetwork && len(out.nameservers) > 0 && !slices.ContainsFunc(out.nameservers, notLoopback) {
			out.nameservers = []string{cfg.Address.String()}
		}
	case corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet:
		out.nameservers = []string{cfg.Address.String()}
		out.searches = append([]string{pod.Namespace + ".svc." + cfg.Domain, "svc." + cfg.Domain, cfg.Domain}, host.searches...)
		out.options = []string{"ndots:5"}
	case corev1.DNSNone:
		if pod.Spec.DNSConfig == nil || len(pod.Spec.DNSConfig.Nameservers) == 0 {
			return nil, fmt.Errorf("cannot write resolv.conf of pod %s/%s: dnsPolicy None needs a nameserver in dnsConfig", pod.Namespace, pod.Name)
		}
	default:
		return nil, fmt.Errorf("cannot write resolv.conf of pod %s/%s: dnsPolicy %q is not known", pod.Namespace, pod.Name, policy)
	}
	out.merge(pod.Spec.DNSConfig)
	return out.encode(), nil
}

// resolver is the content of a resolv.conf.
type resolver struct {
	nameservers, searches, options []string
}

func readHost(path string) (resolver, error) {
	if path != "" {
		return readResolver(path)
	}
	r, err := readResolver(HostFile)
	if err != nil || slices.ContainsFunc(r.nameservers, notLoopback) {
		return r, err
	}
	real, err := readResolver(resolvedFile)
	if err != nil || len(real.nameservers) == 0 {
		return r, err
	}
	return real, nil
}

func notLoopback(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && !a.IsLoopback()
}

// readResolver reads a resolv.conf; a file that does not exist is an empty one (resolv.conf(5)).
func readResolver(path string) (resolver, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return resolver{}, nil
	}
	if err != nil {
		return resolver{}, fmt.Errorf("cannot read resolver configuration: %w", err)
	}
	return parseResolver(data), nil
}

func parseResolver(data []byte) resolver {
	var r resolver
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		line := s.Text()
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.nameservers = append(r.nameservers, f[1])
		case "search", "domain": // the last one counts
			r.searches = nil
			for _, d := range f[1:] {
				if d != "." {
					r.searches = append(r.searches, strings.TrimSuffix(d, "."))
				}
			}
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

// merge adds a pod's own settings: servers and domains after the others, options in place of those of the same name.
func (r *resolver) merge(c *corev1.PodDNSConfig) {
	if c == nil {
		return
	}
	r.nameservers = slices.Concat(r.nameservers, c.Nameservers)
	r.searches = slices.Concat(r.searches, c.Searches)
	options := slices.Clone(r.options)
	for _, o := range c.Options {
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		options = slices.DeleteFunc(options, func(have string) bool {
			name, _, _ := strings.Cut(have, ":")
			return name == o.Name
		})
		options = append(options, text)
	}
	r.options = options
}

func (r *resolver) encode() []byte {
	var b bytes.Buffer
	servers := unique(r.nameservers)
	for _, s := range servers[:min(len(servers), maxNameservers)] {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	searches := unique(r.searches)
	searches = searches[:min(len(searches), maxSearches)]
	for len(strings.Join(searches, " ")) > maxSearchChars {
		searches = searches[:len(searches)-1]
	}
	if len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	if options := unique(r.options); len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes()
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
