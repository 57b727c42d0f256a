package proxy

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables/binaryutil"
)

// setName names one of the table's sets and maps; layout.go says what each holds.
type setName string

const (
	setServices  setName = "services"
	setExternal  setName = "external-services"
	setEndpoints setName = "endpoints"
	setLocal     setName = "local-endpoints"
	setChoices   setName = "affinity-choices"
	setLocalCh   setName = "affinity-local-choices"
	setMembers   setName = "affinity-endpoints"
	setAffinity  setName = "affinity" // written by packets alone
	setHairpin   setName = "hairpin"
	setGuarded   setName = "guarded"
	setAllowed   setName = "allowed-sources"
)

// elementKey identifies an element in the kernel. The strings hold bytes as the kernel has them.
type elementKey struct {
	set      setName
	key, end string // end: last key of an interval, empty otherwise
}

// element is an element with its value: bytes of a data map, the name of a chain or "drop" in a verdict map, empty in a set.
type element struct {
	elementKey
	value string
}

const verdictDrop = "drop"

// rejectChain refuses: TCP by reset, everything else by ICMP port unreachable.
const rejectChain = "refuse" // "reject" is a word of nft's language

// pickKind says what a chain that chooses an endpoint does beside choosing.
type pickKind string

const (
	pickAny         pickKind = "pick"         // of the pool; masquerades clients from outside the node
	pickLocal       pickKind = "local"        // of the external pool; keeps the client's address
	pickSticky      pickKind = "sticky"       // as pick, with affinity
	pickStickyLocal pickKind = "sticky-local" // as local, with affinity
)

// picker is a chain that chooses one of count endpoints. It is shared by all frontends with as many: the frontend's own
// endpoints are found by the packet's destination. So a new service adds elements and, as a rule, no chain.
type picker struct {
	kind    pickKind
	count   int
	timeout time.Duration // of affinity, in seconds
}

// name is the chain's name; parsePicker undoes it.
func (p picker) name() string {
	n := string(p.kind) + "-" + strconv.Itoa(p.count)
	if p.timeout > 0 {
		n += "-" + strconv.Itoa(int(p.timeout/time.Second))
	}
	return n
}

func parsePicker(name string) (picker, bool) {
	for _, kind := range []pickKind{pickStickyLocal, pickSticky, pickLocal, pickAny} {
		rest, ok := strings.CutPrefix(name, string(kind)+"-")
		if !ok {
			continue
		}
		count, timeout, sticky := strings.Cut(rest, "-")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || sticky != (kind == pickSticky || kind == pickStickyLocal) {
			return picker{}, false
		}
		p := picker{kind: kind, count: n}
		if sticky {
			s, err := strconv.Atoi(timeout)
			if err != nil || s < 1 {
				return picker{}, false
			}
			p.timeout = time.Duration(s) * time.Second
		}
		return p, p.name() == name
	}
	return picker{}, false
}

// compiled is what a frontend needs in the kernel.
type compiled struct {
	elements []element
	pickers  []picker
}

// compile turns a frontend into elements. It is a pure function, and its size is that of the frontend's pools.
func compile(f frontend, b backend) compiled {
	var c compiled
	key := f.bytes()
	add := func(set setName, k, value string) {
		c.elements = append(c.elements, element{elementKey{set: set, key: k}, value})
	}
	ids := b.ids()
	for target, id := range ids {
		add(setMembers, key+id, targetBytes(target))
	}
	choose := func(pool []netip.AddrPort, local bool) {
		p, verdicts, values := picker{kind: pickAny, count: len(pool)}, setServices, setEndpoints
		if local {
			p.kind, verdicts, values = pickLocal, setExternal, setLocal
		}
		switch {
		case b.affinity > 0 && local:
			p.kind, p.timeout, values = pickStickyLocal, b.affinity, setLocalCh
		case b.affinity > 0:
			p.kind, p.timeout, values = pickSticky, b.affinity, setChoices
		}
		c.pickers = append(c.pickers, p)
		add(verdicts, key, p.name())
		for i, target := range pool {
			value := targetBytes(target)
			if b.affinity > 0 {
				value = ids[target]
			}
			add(values, key+string(binaryutil.NativeEndian.PutUint32(uint32(i))), value)
		}
	}
	switch {
	case len(b.pool) > 0:
		choose(b.pool, false)
	case b.elsewhere:
		add(setServices, key, verdictDrop)
	default:
		add(setServices, key, rejectChain)
	}
	if b.split {
		if len(b.external) > 0 {
			choose(b.external, true)
		} else {
			add(setExternal, key, verdictDrop)
		}
	}
	for _, a := range b.local {
		add(setHairpin, string(a.AsSlice())+string(a.AsSlice()), "")
	}
	if len(b.sources) > 0 {
		add(setGuarded, key, "")
		for _, p := range b.sources {
			c.elements = append(c.elements, element{elementKey{
				set: setAllowed, key: key + string(p.Addr().AsSlice()), end: key + string(lastAddr(p).AsSlice()),
			}, ""})
		}
	}
	return c
}

// ids numbers the endpoints of a frontend with affinity. A number is derived from the endpoint alone, so that clients stay where
// they are when others come and go; only the second of two endpoints that hash alike depends on the first.
func (b backend) ids() map[netip.AddrPort]string {
	if b.affinity == 0 {
		return nil
	}
	ids, taken := map[netip.AddrPort]string{}, map[uint32]bool{}
	for _, target := range slices.Concat(b.pool, b.external) {
		if _, ok := ids[target]; ok {
			continue
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(targetBytes(target))) // never fails
		id := h.Sum32()
		for taken[id] {
			id++
		}
		taken[id] = true
		ids[target] = string(binaryutil.NativeEndian.PutUint32(id))
	}
	return ids
}

// bytes is ip . protocol . port as in the kernel: network order, each part padded to a register.
func (f frontend) bytes() string {
	b := append(make([]byte, 0, 12), f.addr.AsSlice()...)
	b = append(b, f.proto, 0, 0, 0)
	return string(append(binary.BigEndian.AppendUint16(b, f.port), 0, 0))
}

func targetBytes(a netip.AddrPort) string {
	b := append(make([]byte, 0, 8), a.Addr().AsSlice()...)
	return string(append(binary.BigEndian.AppendUint16(b, a.Port()), 0, 0))
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
