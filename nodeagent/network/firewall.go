package network

import (
	"fmt"

	"github.com/google/nftables"
)

// DroppingChains names the chains of other firewalls that drop forwarded packets unless a rule accepts them, as "FAMILY TABLE
// CHAIN" (Docker's and ufw's among them). A drop cannot be undone by our table, so pods behind such a chain may be cut off;
// whether a rule lets them through is not looked at. Rules of the legacy iptables backend are not seen.
func DroppingChains() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("cannot open nftables: %w", err)
	}
	var out []string
	for family, name := range map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet"} {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("cannot list chains: %w", err)
		}
		for _, c := range chains {
			if c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				out = append(out, name+" "+c.Table.Name+" "+c.Name)
			}
		}
	}
	return out, nil
}

// warnOfFirewalls logs what DroppingChains finds; it is advice only, so that it never keeps a node from starting.
func (b *Bridge) warnOfFirewalls() {
	chains, err := DroppingChains()
	if err != nil {
		b.cfg.Logger.Warn("cannot look for other firewalls", "error", err)
		return
	}
	for _, c := range chains {
		b.cfg.Logger.Warn("another firewall drops forwarded packets: it must accept the pod range", "chain", c, "range", b.cfg.PodCIDR)
	}
}
