package controlplane

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// serviceAddress is the first of the service range: the "kubernetes" service's.
func serviceAddress(cidr string) netip.Addr {
	return netip.MustParsePrefix(cidr).Masked().Addr().Next()
}

// Complete fills in defaults and checks cfg; errors name the field as the configuration file has it.
func Complete(cfg *config.Server) error {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&cfg.ClusterName, "fairlead"}, {&cfg.DataDir, config.DefaultServerDir},
		{&cfg.Listen, fmt.Sprintf("0.0.0.0:%d", config.DefaultAPIPort)},
		{&cfg.PodCIDR, config.DefaultPodCIDR}, {&cfg.ServiceCIDR, config.DefaultServiceCIDR},
		{&cfg.Domain, config.DefaultDomain}, {&cfg.NodePorts, config.DefaultNodePorts},
		{&cfg.Audit.Level, string(api.AuditMetadata)},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if cfg.Audit.Path == "" {
		cfg.Audit.Path = filepath.Join(cfg.DataDir, auditFile)
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not ADDRESS:PORT: %w", cfg.Listen, err)
	}
	if cfg.Advertise == "" {
		if cfg.Advertise, err = advertise(host); err != nil {
			return fmt.Errorf("advertise: %w", err)
		}
	}
	if _, err := netip.ParseAddr(cfg.Advertise); err != nil {
		return fmt.Errorf("advertise: %q is not an address", cfg.Advertise)
	}
	pods, err := parseRange("podCIDR", cfg.PodCIDR)
	if err != nil {
		return err
	}
	services, err := parseRange("serviceCIDR", cfg.ServiceCIDR)
	if err != nil {
		return err
	}
	if pods.Overlaps(services) {
		return fmt.Errorf("serviceCIDR: %s overlaps podCIDR %s", services, pods)
	}
	_, _, err = parsePorts(cfg.NodePorts)
	return err
}

func parseRange(field, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return p, fmt.Errorf("%s: %q is not an IPv4 range such as 10.1.0.0/16", field, s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s: %s has host bits set; did you mean %s?", field, s, p.Masked())
	}
	if p.Bits() > 24 || p.Bits() < 8 {
		return p, fmt.Errorf("%s: %s must be between a /8 and a /24", field, s)
	}
	return p, nil
}

func parsePorts(s string) (first, last int, err error) {
	a, b, ok := strings.Cut(s, "-")
	first, err1 := strconv.Atoi(a)
	last, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || first < 1 || last > 65535 || first > last {
		return 0, 0, fmt.Errorf("nodePorts: %q is not FIRST-LAST within 1-65535", s)
	}
	return first, last, nil
}

// advertise is the address that a server listening on host is reached at from elsewhere: host itself, or for a
// wildcard the source address of the default route.
func advertise(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
		return host, nil
	}
	// Nothing is sent: connecting a UDP socket only looks up the route.
	conn, err := net.Dial("udp4", "192.0.2.1:9")
	if err == nil {
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).IP.String(), nil
	}
	addrs, listErr := net.InterfaceAddrs()
	if listErr != nil {
		return "", fmt.Errorf("cannot find this host's address: %w", listErr)
	}
	i := slices.IndexFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast()
	})
	if i < 0 {
		return "127.0.0.1", nil
	}
	return addrs[i].(*net.IPNet).IP.String(), nil
}
