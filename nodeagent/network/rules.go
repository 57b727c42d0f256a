package network

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// rules writes the table of masquerading and host ports:
//
//	prerouting (nat, just after the services)  local destination: host port -> pod
//	output     (nat, just after the services)  the same for processes of the host; 127.0.0.0/8 is not served
//	postrouting (nat)                          pod -> outside the cluster, and pod -> itself by host port: masquerade
//
// It keeps in memory which host ports are open. It is safe for concurrent use.
type rules struct {
	cfg     Config
	conn    *nftables.Conn
	tracked *netlink.Handle

	mu    sync.Mutex
	ports map[hostPort]portOwner
}

type hostPort struct {
	ip    netip.Addr // 0.0.0.0: every local address
	proto uint8
	port  uint16
}

type portOwner struct {
	pod    types.UID
	target netip.AddrPort
}

// 32-bit registers, numbered as the kernel does.
const (
	reg0 = 8 + iota
	reg1
	reg2
)

var (
	table = &nftables.Table{Name: TableName, Family: nftables.TableFamilyIPv4}
	// The sets have numbers of our own choice: the library would count in a variable that all its users in this process share
	// unguarded. anyPorts and ports map a host port to a pod: those of every local address, and those of one address.
	anyPorts = &nftables.Set{
		Table: table, ID: 1, Name: "any-host-ports", IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	}
	ports = &nftables.Set{
		Table: table, ID: 2, Name: "host-ports", IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	}
	// hairpin holds address . address of each pod with a host port.
	hairpin = &nftables.Set{
		Table: table, ID: 3, Name: "hairpin", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr),
	}
)

// openRules replaces the table in one transaction by one with the host ports of all records.
func openRules(cfg Config, records []record) (_ *rules, err error) {
	r := &rules{cfg: cfg, ports: map[hostPort]portOwner{}}
	if r.conn, err = nftables.New(nftables.AsLasting()); err != nil {
		return nil, fmt.Errorf("cannot open nftables: %w", err)
	}
	if r.tracked, err = netlink.NewHandle(unix.NETLINK_NETFILTER); err != nil {
		_ = r.conn.CloseLasting()
		return nil, fmt.Errorf("cannot open connection tracking: %w", err)
	}
	for _, rec := range records {
		wanted, err := r.wanted(rec)
		if err != nil {
			cfg.Logger.Warn("leaving out a pod's host ports", slog.String("pod", rec.Namespace+"/"+rec.Name), slog.Any("error", err))
		}
		maps.Copy(r.ports, wanted)
	}
	if err := r.rewrite(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// rewrite replaces the whole table in one transaction. Nobody else uses r yet, or the caller holds the lock.
func (r *rules) rewrite() error {
	r.conn.AddTable(table) // so that there is one to delete
	r.conn.DelTable(table)
	r.conn.AddTable(table)
	for _, set := range []*nftables.Set{anyPorts, ports, hairpin} {
		if err := r.conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("cannot encode set %s: %w", set.Name, err)
		}
	}
	r.addChains()
	if err := r.queue(r.ports, r.conn.SetAddElements); err != nil {
		return err
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("cannot write table %s: %w", TableName, err)
	}
	return nil
}

// ensure writes the table again if somebody removed it, as "nft flush ruleset" does.
func (r *rules) ensure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	chains, err := r.conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return fmt.Errorf("cannot look for table %s: %w", TableName, err)
	}
	if slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == TableName }) {
		return nil
	}
	r.cfg.Logger.Warn("rules of pods are gone from the kernel, writing them again")
	return r.rewrite()
}

func (r *rules) close() {
	_ = r.conn.CloseLasting()
	r.tracked.Close()
}

func (r *rules) addChains() {
	afterServices := nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest + 1)
	base := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return r.conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
	}
	rule := func(c *nftables.Chain, exprs ...[]expr.Any) {
		r.conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: concat(exprs...)})
	}
	for _, c := range []*nftables.Chain{
		base("prerouting", nftables.ChainHookPrerouting, afterServices),
		base("output", nftables.ChainHookOutput, afterServices),
	} {
		rule(c, load(reg0, dstAddr), load(reg1, l4proto), load(reg2, dstPort), translate(ports, reg0))
		rule(c, localDestination(), load(reg0, l4proto), load(reg1, dstPort), translate(anyPorts, reg0))
	}
	post := base("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	masquerade := []expr.Any{&expr.Masq{FullyRandom: true}}
	rule(post, matchPrefix(srcAddr, r.cfg.NodePodCIDR, true), matchPrefix(dstAddr, r.cfg.PodCIDR, false),
		matchPrefix(dstAddr, netip.MustParsePrefix("224.0.0.0/4"), false), masquerade)
	rule(post, load(reg0, srcAddr), load(reg1, dstAddr), []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: hairpin.Name}}, masquerade)
}

// open adds the host ports of a pod; it is idempotent. A port that another pod holds is an error, and none is opened then.
func (r *rules) open(rec record) error {
	if len(rec.Ports) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted, err := r.wanted(rec)
	if err != nil {
		return err
	}
	if maps.Equal(wanted, r.held(rec.UID)) {
		return nil
	}
	maps.Copy(r.ports, wanted)
	if err := r.change(wanted, r.conn.SetAddElements); err != nil {
		r.drop(rec.UID)
		return err
	}
	return r.forgetUDP(wanted)
}

// closePorts removes the host ports of a pod.
func (r *rules) closePorts(uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.held(uid)
	if len(held) == 0 {
		return nil
	}
	r.drop(uid)
	if err := r.change(held, r.conn.SetDeleteElements); err != nil {
		maps.Copy(r.ports, held)
		return err
	}
	return r.forgetUDP(held)
}

// change sends a difference, and the whole table where the kernel does not take it: then the table is not what it was.
func (r *rules) change(ports map[hostPort]portOwner, send sendElements) error {
	if err := r.queue(ports, send); err != nil {
		return err
	}
	if err := r.conn.Flush(); err != nil {
		r.cfg.Logger.Warn("rules of pods do not take a change, writing them anew", slog.Any("error", err))
		return r.rewrite()
	}
	return nil
}

type sendElements func(*nftables.Set, []nftables.SetElement) error

// queue encodes the elements of host ports.
func (r *rules) queue(ports map[hostPort]portOwner, send sendElements) error {
	pods := map[netip.Addr]bool{}
	for key, owner := range ports {
		set, element := portElement(key)
		element.Val = append(owner.target.Addr().AsSlice(), portBytes(owner.target.Port())...)
		if err := send(set, []nftables.SetElement{element}); err != nil {
			return fmt.Errorf("cannot encode host port: %w", err)
		}
		pods[owner.target.Addr()] = true
	}
	for addr := range pods {
		if err := send(hairpin, []nftables.SetElement{{Key: append(addr.AsSlice(), addr.AsSlice()...)}}); err != nil {
			return fmt.Errorf("cannot encode hairpin: %w", err)
		}
	}
	return nil
}

// wanted computes the host ports of a pod.
func (r *rules) wanted(rec record) (map[hostPort]portOwner, error) {
	out := map[hostPort]portOwner{}
	for _, m := range rec.Ports {
		key, err := portKey(m)
		if err != nil {
			return nil, err
		}
		if owner, taken := r.ports[key]; taken && owner.pod != rec.UID {
			return nil, fmt.Errorf("cannot use host port %d: pod %s has it", m.HostPort, owner.pod)
		}
		out[key] = portOwner{rec.UID, netip.AddrPortFrom(rec.Address, m.ContainerPort)}
	}
	return out, nil
}

func (r *rules) held(uid types.UID) map[hostPort]portOwner {
	out := map[hostPort]portOwner{}
	for key, owner := range r.ports {
		if owner.pod == uid {
			out[key] = owner
		}
	}
	return out
}

func (r *rules) drop(uid types.UID) {
	maps.DeleteFunc(r.ports, func(_ hostPort, owner portOwner) bool { return owner.pod == uid })
}

// forgetUDP removes tracked UDP connections to host ports: a client that never pauses would go on to where the port
// led before.
func (r *rules) forgetUDP(ports map[hostPort]portOwner) error {
	filter := udpPorts{}
	for key := range ports {
		if key.proto == unix.IPPROTO_UDP {
			filter[key.port] = true
		}
	}
	if len(filter) == 0 {
		return nil
	}
	if _, err := r.tracked.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter); err != nil {
		return fmt.Errorf("cannot remove tracked connections of host ports: %w", err)
	}
	return nil
}

// udpPorts matches tracked UDP connections that were opened to one of the ports.
type udpPorts map[uint16]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (p udpPorts) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return f.Forward.Protocol == unix.IPPROTO_UDP && p[f.Forward.DstPort]
}

func portKey(m PortMapping) (hostPort, error) {
	key := hostPort{ip: m.HostIP, port: m.HostPort}
	if !key.ip.IsValid() {
		key.ip = netip.IPv4Unspecified()
	}
	switch strings.ToUpper(m.Protocol) {
	case "", "TCP":
		key.proto = unix.IPPROTO_TCP
	case "UDP":
		key.proto = unix.IPPROTO_UDP
	case "SCTP":
		key.proto = unix.IPPROTO_SCTP
	default:
		return key, fmt.Errorf("cannot open host port %d: protocol %q is not known", m.HostPort, m.Protocol)
	}
	if !key.ip.Is4() {
		return key, fmt.Errorf("cannot open host port %d on %s: want IPv4", m.HostPort, key.ip)
	}
	return key, nil
}

func portElement(k hostPort) (*nftables.Set, nftables.SetElement) {
	key := append([]byte{k.proto, 0, 0, 0}, portBytes(k.port)...)
	if k.ip.IsUnspecified() {
		return anyPorts, nftables.SetElement{Key: key}
	}
	return ports, nftables.SetElement{Key: append(k.ip.AsSlice(), key...)}
}

// portBytes is a port in network order, padded to a register.
func portBytes(p uint16) []byte {
	return append(binary.BigEndian.AppendUint16(nil, p), 0, 0)
}
