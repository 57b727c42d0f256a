package network

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// rules writes the table of masquerading and host ports:
//
//	prerouting (nat, just after the services)  local destination: host port -> pod
//	output     (nat, just after the services)  the same for processes of the host; 127.0.0.0/8 is not served
//	postrouting (nat)                          pod -> outside the cluster, and pod -> itself by host port: masquerade
//	redirects  (filter, output)                drops ICMP redirects to pods: every packet between two pods shall pass the host
//
// It keeps in memory which elements are in the kernel. It is safe for concurrent use.
type rules struct {
	cfg  Config
	conn *nftables.Conn

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
	// anyPorts and ports map a host port to a pod: those of every local address, and those of one address.
	anyPorts = &nftables.Set{
		Table: table, Name: "any-host-ports", IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	}
	ports = &nftables.Set{
		Table: table, Name: "host-ports", IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	}
	// hairpin holds address . address of each pod with a host port.
	hairpin = &nftables.Set{
		Table: table, Name: "hairpin", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr),
	}
)

// openRules replaces the table in one transaction by one with the host ports of all records.
func openRules(cfg Config, records []record) (*rules, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("cannot open nftables: %w", err)
	}
	r := &rules{cfg: cfg, conn: conn, ports: map[hostPort]portOwner{}}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	for _, set := range []*nftables.Set{anyPorts, ports, hairpin} {
		s := *set // AddSet writes an id into it
		if err := conn.AddSet(&s, nil); err != nil {
			return nil, fmt.Errorf("cannot add set %s: %w", s.Name, err)
		}
	}
	r.addChains()
	for _, rec := range records {
		if err := r.add(rec); err != nil {
			cfg.Logger.Warn("leaving out a pod's host ports", slog.String("pod", rec.Namespace+"/"+rec.Name), slog.Any("error", err))
		}
	}
	if err := conn.Flush(); err != nil {
		r.close()
		return nil, fmt.Errorf("cannot write table %s: %w", TableName, err)
	}
	return r, nil
}

func (r *rules) close() { _ = r.conn.CloseLasting() }

func (r *rules) addChains() {
	afterServices := nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest + 1)
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return r.conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: kind, Hooknum: hook, Priority: priority})
	}
	rule := func(c *nftables.Chain, exprs ...[]expr.Any) {
		r.conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: concat(exprs...)})
	}
	for _, c := range []*nftables.Chain{
		base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, afterServices),
		base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, afterServices),
	} {
		rule(c, load(reg0, dstAddr), load(reg1, l4proto), load(reg2, dstPort), translate(ports, reg0))
		rule(c, localDestination(), load(reg0, l4proto), load(reg1, dstPort), translate(anyPorts, reg0))
	}
	post := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	masquerade := []expr.Any{&expr.Masq{FullyRandom: true}}
	rule(post, matchPrefix(srcAddr, r.cfg.NodePodCIDR, true), matchPrefix(dstAddr, r.cfg.PodCIDR, false),
		matchPrefix(dstAddr, netip.MustParsePrefix("224.0.0.0/4"), false), masquerade)
	rule(post, load(reg0, srcAddr), load(reg1, dstAddr), []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: hairpin.Name}}, masquerade)

	redirects := base("redirects", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, BridgeName)
	rule(redirects, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{unix.IPPROTO_ICMP}},
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{5}}, // redirect, RFC 792
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Verdict{Kind: expr.VerdictDrop},
	})
}

// open adds the host ports of a pod; it is idempotent.
func (r *rules) open(rec record) error {
	if len(rec.Ports) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened(rec) {
		return nil
	}
	if err := r.add(rec); err != nil {
		return err
	}
	if err := r.conn.Flush(); err != nil {
		r.drop(rec.UID)
		return fmt.Errorf("cannot write host ports: %w", err)
	}
	return nil
}

func (r *rules) opened(rec record) bool {
	for _, m := range rec.Ports {
		key, err := portKey(m)
		if err != nil || r.ports[key].pod != rec.UID {
			return false
		}
	}
	return true
}

// add queues the elements of a pod's host ports. A port that another pod holds is an error; nothing is queued then.
func (r *rules) add(rec record) error {
	if len(rec.Ports) == 0 {
		return nil
	}
	wanted := map[hostPort]portOwner{}
	for _, m := range rec.Ports {
		key, err := portKey(m)
		if err != nil {
			return err
		}
		if owner, taken := r.ports[key]; taken && owner.pod != rec.UID {
			return fmt.Errorf("cannot use host port %d: pod %s has it", m.HostPort, owner.pod)
		}
		wanted[key] = portOwner{rec.UID, netip.AddrPortFrom(rec.Address, m.ContainerPort)}
	}
	for key, owner := range wanted {
		set, element := portElement(key)
		element.Val = append(owner.target.Addr().AsSlice(), portBytes(owner.target.Port())...)
		if err := r.conn.SetAddElements(set, []nftables.SetElement{element}); err != nil {
			return fmt.Errorf("cannot encode host port: %w", err)
		}
		r.ports[key] = owner
	}
	return r.conn.SetAddElements(hairpin, []nftables.SetElement{hairpinElement(rec.Address)})
}

// closePorts removes the host ports of a pod.
func (r *rules) closePorts(uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var address netip.Addr
	for key, owner := range r.ports {
		if owner.pod != uid {
			continue
		}
		address = owner.target.Addr()
		set, element := portElement(key)
		if err := r.conn.SetDeleteElements(set, []nftables.SetElement{element}); err != nil {
			return fmt.Errorf("cannot encode host port: %w", err)
		}
	}
	if !address.IsValid() {
		return nil
	}
	if err := r.conn.SetDeleteElements(hairpin, []nftables.SetElement{hairpinElement(address)}); err != nil {
		return fmt.Errorf("cannot encode hairpin: %w", err)
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("cannot remove host ports: %w", err)
	}
	r.drop(uid)
	return nil
}

func (r *rules) drop(uid types.UID) {
	for key, owner := range r.ports {
		if owner.pod == uid {
			delete(r.ports, key)
		}
	}
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

func hairpinElement(a netip.Addr) nftables.SetElement {
	return nftables.SetElement{Key: append(a.AsSlice(), a.AsSlice()...)}
}

// portBytes is a port in network order, padded to a register.
func portBytes(p uint16) []byte {
	return append(binary.BigEndian.AppendUint16(nil, p), 0, 0)
}
