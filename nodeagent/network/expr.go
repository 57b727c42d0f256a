package network

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// field is a part of a packet that a rule loads.
type field int

const (
	srcAddr field = iota
	dstAddr
	l4proto
	dstPort // of TCP, UDP and SCTP alike
)

func load(reg uint32, f field) []expr.Any {
	switch f {
	case srcAddr:
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}
	case dstAddr:
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}}
	case dstPort:
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
	default:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}}
	}
}

// translate looks the key that starts at reg0 up in a map of address . port and translates the destination to it.
func translate(set *nftables.Set, key uint32) []expr.Any {
	return []expr.Any{
		&expr.Lookup{SourceRegister: key, DestRegister: reg0, IsDestRegSet: true, SetName: set.Name},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg0, RegProtoMin: reg1},
	}
}

// localDestination matches addresses of this host outside 127.0.0.0/8.
func localDestination() []expr.Any {
	return concat([]expr.Any{
		&expr.Fib{Register: reg0, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}, matchPrefix(dstAddr, netip.MustParsePrefix("127.0.0.0/8"), false))
}

// matchPrefix matches addresses within the prefix, or outside it.
func matchPrefix(f field, p netip.Prefix, within bool) []expr.Any {
	op := expr.CmpOpNeq
	if within {
		op = expr.CmpOpEq
	}
	mask := net.CIDRMask(p.Bits(), 32)
	return append(load(reg0, f),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: mask, Xor: binary.BigEndian.AppendUint32(nil, 0)},
		&expr.Cmp{Op: op, Register: reg0, Data: p.Masked().Addr().AsSlice()})
}

func concat(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
