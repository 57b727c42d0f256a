package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TableName is the nftables table (family ip) that belongs to this package alone.
const TableName = "fairlead"

// masqueradeMark is the bit of a packet's mark that asks postrouting to masquerade it. It lives from one hook to the other
// within this host and is cleared there.
const masqueradeMark = 0x4000

// affinitySize bounds the clients that are remembered; beyond it, new ones are served without affinity.
const affinitySize = 1 << 18

// layoutVersion changes with anything that layout or pickerRules write.
const layoutVersion = 1

// 32-bit registers, numbered as the kernel does. A key of several parts takes as many in a row.
const (
	reg0 uint32 = 8 + iota
	reg1
	reg2
	reg3
	reg4
)

// layout is the static part of the table: README.md draws it.
type layout struct {
	table       *nftables.Table
	nodePodCIDR netip.Prefix
	serviceCIDR netip.Prefix
}

func newLayout(cfg Config) layout {
	return layout{
		table:       &nftables.Table{Name: TableName, Family: nftables.TableFamilyIPv4},
		nodePodCIDR: cfg.NodePodCIDR.Masked(), serviceCIDR: cfg.ServiceCIDR.Masked(),
	}
}

// marker names an empty chain that says which layout the table has. A table with another one is replaced as a whole.
func (l layout) marker() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", layoutVersion, l.nodePodCIDR, l.serviceCIDR))
	return "layout-" + hex.EncodeToString(sum[:6])
}

// sets returns the table's sets and maps. Keys begin with the frontend: address . protocol . port.
func (l layout) sets() map[setName]*nftables.Set {
	var (
		addr, proto, port, mark = nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark
		key                     = nftables.MustConcatSetType
		target                  = key(addr, port)
		id                      = nftables.TypeClassID // of an endpoint: it has to fit "meta priority"
	)
	sets := map[setName]*nftables.Set{
		setServices:  {IsMap: true, KeyType: key(addr, proto, port), DataType: nftables.TypeVerdict},
		setExternal:  {IsMap: true, KeyType: key(addr, proto, port), DataType: nftables.TypeVerdict},
		setEndpoints: {IsMap: true, KeyType: key(addr, proto, port, mark), DataType: target},
		setLocal:     {IsMap: true, KeyType: key(addr, proto, port, mark), DataType: target},
		setChoices:   {IsMap: true, KeyType: key(addr, proto, port, mark), DataType: id},
		setLocalCh:   {IsMap: true, KeyType: key(addr, proto, port, mark), DataType: id},
		setMembers:   {IsMap: true, KeyType: key(addr, proto, port, id), DataType: target},
		setAffinity: {IsMap: true, KeyType: key(addr, addr, proto, port), DataType: id,
			Dynamic: true, HasTimeout: true, Size: affinitySize},
		setHairpin: {KeyType: key(addr, addr)},
		setGuarded: {KeyType: key(addr, proto, port)},
		setAllowed: {KeyType: key(addr, proto, port, addr), Interval: true},
	}
	// Numbers of our own choice: the library would count in a variable that all its users in this process share unguarded.
	for i, name := range slices.Sorted(maps.Keys(sets)) {
		s := sets[name]
		s.Table, s.Name, s.Concatenation, s.ID = l.table, string(name), true, uint32(i+1)
	}
	return sets
}

// build queues the whole static part.
func (l layout) build(conn *nftables.Conn) error {
	for name, set := range l.sets() {
		if err := conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("cannot encode set %s: %w", name, err)
		}
	}
	base := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Table: l.table, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
	}
	rule := func(c *nftables.Chain, parts ...[]expr.Any) {
		conn.AddRule(&nftables.Rule{Table: l.table, Chain: c, Exprs: concat(parts...)})
	}
	conn.AddChain(&nftables.Chain{Table: l.table, Name: l.marker()})
	reject := conn.AddChain(&nftables.Chain{Table: l.table, Name: rejectChain})
	rule(reject, match(l4proto, unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	rule(reject, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: icmpPortUnreachable}})

	pre := base("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	rule(pre, frontendKey(reg0), lookup(setGuarded, reg0), load(reg3, srcAddr), lookupNot(setAllowed, reg0), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	rule(pre, l.fromOutside(), frontendKey(reg0), verdict(setExternal))
	out := base("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	for _, c := range []*nftables.Chain{pre, out} {
		rule(c, frontendKey(reg0), verdict(setServices))
		if l.serviceCIDR.IsValid() {
			rule(c, inPrefix(dstAddr, l.serviceCIDR, expr.CmpOpEq), []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: rejectChain}})
		}
	}
	post := base("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	rule(post, marked(), setMark(0), masquerade())
	rule(post, translated(), load(reg0, srcAddr), load(reg1, dstAddr), lookup(setHairpin, reg0), masquerade())
	return nil
}

// buildPicker queues the chain of a picker.
func (l layout) buildPicker(conn *nftables.Conn, p picker) {
	chain := conn.AddChain(&nftables.Chain{Table: l.table, Name: p.name()})
	for _, exprs := range l.pickerRules(p) {
		conn.AddRule(&nftables.Rule{Table: l.table, Chain: chain, Exprs: exprs})
	}
}

func (l layout) pickerRules(p picker) [][]expr.Any {
	var rules [][]expr.Any
	targets, choices := setLocal, setLocalCh
	if p.kind == pickAny || p.kind == pickSticky {
		targets, choices = setEndpoints, setChoices
		rules = append(rules, concat(l.fromOutside(), setMark(masqueradeMark)))
	}
	number := []expr.Any{&expr.Numgen{Register: reg3, Modulus: uint32(p.count), Type: unix.NFT_NG_RANDOM}}
	if p.timeout == 0 {
		return append(rules, concat(frontendKey(reg0), number, lookupInto(targets, reg0, reg0), translate(reg0)))
	}
	// The endpoint's number passes from expression to expression in the packet's priority, which routing sets anew for what is
	// forwarded. (Registers would do, but nft 1.0 crashes when it lists such a rule.)
	client := concat(load(reg0, srcAddr), frontendKey(reg1))
	known := concat(client, lookupInto(setAffinity, reg0, reg0), setPriority(reg0))
	remember := func(op uint32, timeout time.Duration) []expr.Any {
		return concat(client, load(reg4, priority), []expr.Any{
			&expr.Dynset{SrcRegKey: reg0, SrcRegData: reg4, SetName: string(setAffinity), Operation: op, Timeout: timeout}})
	}
	send := concat(frontendKey(reg0), load(reg3, priority), lookupInto(setMembers, reg0, reg0), translate(reg0))
	return append(rules,
		// Known client: renew, and go if the endpoint is there.
		concat(known, remember(unix.NFT_DYNSET_OP_UPDATE, p.timeout), send),
		// Known client whose endpoint is gone: forget.
		concat(known, remember(dynsetDelete, 0)),
		// Choose and remember. When the map is full this rule ends there, and the last one goes without.
		concat(frontendKey(reg0), number, lookupInto(choices, reg0, reg0), setPriority(reg0), remember(unix.NFT_DYNSET_OP_UPDATE, p.timeout), send),
		send,
	)
}

const (
	dynsetDelete        = 2  // NFT_DYNSET_OP_DELETE, missing in package unix
	icmpPortUnreachable = 3  // RFC 792
	statusDstNAT        = 32 // IPS_DST_NAT: the connection's destination is translated
)

type field int

const (
	srcAddr field = iota
	dstAddr
	dstPort // of TCP, UDP and SCTP alike
	l4proto
	priority
)

func load(reg uint32, f field) []expr.Any {
	switch f {
	case srcAddr:
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}
	case dstAddr:
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}}
	case dstPort:
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
	case priority:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: reg}}
	default:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}}
	}
}

func setPriority(reg uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: reg, SourceRegister: true}}
}

// frontendKey loads destination . protocol . port into three registers.
func frontendKey(reg uint32) []expr.Any {
	return concat(load(reg, dstAddr), load(reg+1, l4proto), load(reg+2, dstPort))
}

func match(f field, value byte) []expr.Any {
	return append(load(reg0, f), &expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{value}})
}

func inPrefix(f field, p netip.Prefix, op expr.CmpOp) []expr.Any {
	return append(load(reg0, f),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg0, Data: p.Addr().AsSlice()})
}

// fromOutside matches clients that are not pods of this node. Without a range of its own the node has no pods.
func (l layout) fromOutside() []expr.Any {
	if !l.nodePodCIDR.IsValid() {
		return nil
	}
	return inPrefix(srcAddr, l.nodePodCIDR, expr.CmpOpNeq)
}

func lookup(set setName, reg uint32) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg, SetName: string(set)}}
}

func lookupNot(set setName, reg uint32) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg, SetName: string(set), Invert: true}}
}

func lookupInto(set setName, key, value uint32) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: key, DestRegister: value, IsDestRegSet: true, SetName: string(set)}}
}

// verdict goes where the map says for the frontend in registers 0 to 2.
func verdict(set setName) []expr.Any { return lookupInto(set, reg0, unix.NFT_REG_VERDICT) }

// translate sets the destination to the address in reg and the port in the register after it.
func translate(reg uint32) []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: reg + 1}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{FullyRandom: true}} }

// setMark writes the masquerade bit of the mark, and leaves the others, which belong to other software.
func setMark(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native(^uint32(masqueradeMark)), Xor: native(bit)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0, SourceRegister: true},
	}
}

func marked() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native(masqueradeMark), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: native(0)},
	}
}

// translated matches connections whose destination was translated.
func translated() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native(statusDstNAT), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: native(0)},
	}
}

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }

// bigEndian is used where the kernel's interface wants network order.
func bigEndian(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func concat(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
