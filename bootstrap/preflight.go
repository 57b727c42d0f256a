package bootstrap

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
)

// Roles of a host.
const (
	RoleServer = "server"
	RoleAgent  = "agent"
)

// maxParallel hosts are asked at once.
const maxParallel = 16

var (
	agentPorts  = []string{"tcp/" + strconv.Itoa(config.DefaultAgentPort), "udp/" + strconv.Itoa(config.DefaultVXLANPort), "tcp/53", "udp/53"}
	serverPorts = []string{"tcp/" + strconv.Itoa(config.DefaultAPIPort)}
	allPorts    = slices.Concat(serverPorts, agentPorts)
)

// PreflightError has everything that is wrong with every host. Nothing was changed on any of them.
type PreflightError struct{ Failures []host.Failure }

func (e *PreflightError) Error() string {
	if len(e.Failures) == 1 {
		return "cannot use host " + e.Failures[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cannot use the hosts, for %d reasons:", len(e.Failures))
	for _, f := range e.Failures {
		b.WriteString("\n- " + f.String())
	}
	return b.String()
}

// Preflight checks all hosts, changes nothing, and returns every failure of every host in one error
// (*PreflightError).
func Preflight(ctx context.Context, cluster Cluster, bin Binary, targets []Target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer from all hosts within %v", checkTimeout))
	defer cancel()
	looked := make([]*target, len(targets))
	errs := make([]error, len(targets))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, t := range targets {
		g.Go(func() error {
			looked[i] = newTarget(t.Conn, nil)
			errs[i] = looked[i].look(ctx)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	var failures []host.Failure
	names := map[string]string{} // node name to host
	for i, t := range targets {
		if errs[i] != nil {
			failures = append(failures, host.Failure{Host: t.Conn.Host(), Check: "connection", Found: errs[i].Error(), Fix: "mend the connection"})
			continue
		}
		failures = append(failures, looked[i].check(cluster, bin, t)...)
		name := nodeName(t.Node, looked[i].facts)
		if other, taken := names[name]; taken {
			failures = append(failures, duplicateName(t.Conn.Host(), name, "it is "+other+"'s too"))
		}
		names[name] = t.Conn.Host()
	}
	if len(failures) > 0 {
		return &PreflightError{failures}
	}
	return nil
}

// check is what can be said about one host alone.
func (t *target) check(cluster Cluster, bin Binary, want Target) []host.Failure {
	role, n := want.Role, want.Node
	ports := agentPorts
	switch {
	case role == RoleServer && want.NoPods:
		ports = serverPorts
	case role == RoleServer:
		ports = allPorts
	}
	wants := host.Wants{OS: bin.OS, Arch: bin.Arch, Ports: ports, Ours: t.installed.Present, RunsPods: t.installed.Present && t.installed.Pods, Ranges: ranges(cluster)}
	var failures []host.Failure
	fail := func(check, found, fix string) {
		failures = append(failures, host.Failure{Host: t.conn.Host(), Check: check, Found: found, Fix: fix})
	}
	if !want.NoPods {
		var err error
		if wants.Eviction, err = eviction.Parse(n.EvictionHard); err != nil {
			fail("eviction_hard", err.Error(), "")
		}
	}
	failures = append(failures, host.Check(t.facts, wants)...)
	was := t.installed
	if name := nodeName(n, t.facts); len(validation.IsDNS1123Subdomain(name)) > 0 {
		fail("node name", fmt.Sprintf("%q cannot be a node's name", name), "set a name of lower-case letters, digits, hyphens and dots in the resource")
	} else if was.Present && was.NodeName != "" && was.NodeName != name {
		fail("node name", fmt.Sprintf("it is node %q and would become %q", was.NodeName, name), "remove the node first, or keep its name")
	}
	switch {
	case !was.Present:
	case was.Cluster != "" && cluster.Name != "" && was.Cluster != cluster.Name:
		failures = append(failures, elsewhere(t.conn.Host(), was, ""))
	case was.otherCA(cluster.CA):
		failures = append(failures, elsewhere(t.conn.Host(), was, ", which is another one of that name"))
	case was.Role != role:
		fail("role", "it is "+was.Place()+" already", "remove that resource first: a host is one node, and that of a control plane runs pods by itself, unless pods = false")
	case !n.Owner.mayTake(&was.Owner):
		failures = append(failures, n.Owner.owned(t.conn.Host(), was))
	}
	return failures
}

// ranges are the cluster's, as far as they can be read; whether they can, others have checked.
func ranges(c Cluster) []host.Range {
	var ranges []host.Range
	if c.Unknown {
		return nil
	}
	for _, r := range []struct{ setting, text string }{
		{"pod_cidr", cmp.Or(c.PodCIDR, config.DefaultPodCIDR)}, {"service_cidr", cmp.Or(c.ServiceCIDR, config.DefaultServiceCIDR)},
	} {
		if p, err := netip.ParsePrefix(r.text); err == nil {
			ranges = append(ranges, host.Range{Setting: r.setting, Prefix: p.Masked()})
		}
	}
	return ranges
}

// elsewhere is a host of another cluster.
func elsewhere(host_ string, was *Installed, more string) host.Failure {
	return host.Failure{Host: host_, Check: "other cluster", Found: "it is " + was.Place() + more,
		Fix: "destroy it there first; or where nobody has its state any more, " + byHand}
}

// byHand is how a host that nobody's state has is emptied.
const byHand = "run `fairlead cleanup` on it and delete " + etcDir + " and " + dataDir

func duplicateName(host_, name, found string) host.Failure {
	return host.Failure{Host: host_, Check: "node name", Found: fmt.Sprintf("its name would be %q, and %s", name, found),
		Fix: "give the host another name, or set one in the resource"}
}

// preflight is Preflight as the first phase of one host.
func (t *target) preflight(cluster Cluster, bin Binary, want Target) phase {
	return phase{name: "check the host", timeout: checkTimeout, do: func(ctx context.Context) error {
		if err := t.look(ctx); err != nil {
			return err
		}
		if failures := t.check(cluster, bin, want); len(failures) > 0 {
			return &PreflightError{failures}
		}
		return nil
	}}
}

// nodeName is the name that the host has in its cluster.
func nodeName(n Node, f *host.Facts) string {
	if n.Name != "" {
		return n.Name
	}
	return strings.ToLower(f.Hostname)
}

// nodeAddress is the address that other nodes reach the host at: the one given; else the one that it was dialled
// at when that is an address of the host; else the one that its default route leaves from, as for a host behind
// address translation, one reached by name, or this machine.
func nodeAddress(n Node, c ssh.Conn, f *host.Facts) (string, error) {
	if n.Address != "" {
		return n.Address, nil
	}
	if a, err := netip.ParseAddr(c.Host()); err == nil && !a.IsLoopback() && f.HasAddress(a) {
		return a.String(), nil
	}
	if f.Source.IsValid() {
		return f.Source.String(), nil
	}
	if len(f.Addresses) > 0 {
		return f.Addresses[0].Addr().String(), nil
	}
	return "", fmt.Errorf("cannot tell the address of %s in the cluster: it has no default route; set internal_address", c.Host())
}
