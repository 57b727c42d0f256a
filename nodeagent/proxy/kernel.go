package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// chunkElements bounds a transaction of a rebuild, so that the kernel's lock is held for milliseconds.
	chunkElements = 4096
	// messageElements bounds one message: netlink attributes end at 64 KiB, an element takes up to 120 bytes.
	messageElements = 256
	// socketBuffer holds the largest transaction and its acknowledgements.
	socketBuffer = 32 << 20
)

// kernel writes the table over a netlink socket of the network namespace that it was opened in. It is not safe for
// concurrent use.
type kernel struct {
	conn   *nftables.Conn
	layout layout
	sets   map[setName]*nftables.Set
}

func openKernel(l layout) (*kernel, error) {
	conn, err := dialKernel()
	if err != nil {
		return nil, err
	}
	return &kernel{conn: conn, layout: l, sets: l.sets()}, nil
}

func dialKernel() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(socketBuffer), c.SetReadBuffer(socketBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("cannot open nftables: %w", err)
	}
	return conn, nil
}

func (k *kernel) close() { _ = k.conn.CloseLasting() }

// commit applies a change in one transaction: all of it or, with an error, nothing.
func (k *kernel) commit(c change) error {
	if err := k.queue(c); err != nil {
		return err
	}
	return k.flush()
}

// flush sends what is queued. After an error acknowledgements may be left in the socket, where the next transaction would take
// them for its own: it gets a new one.
func (k *kernel) flush() error {
	err := k.conn.Flush()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot commit to table %s: %w", TableName, err)
	conn, dialErr := dialKernel()
	if dialErr != nil {
		return errors.Join(err, dialErr)
	}
	k.close()
	k.conn = conn
	return err
}

func (k *kernel) queue(c change) error {
	for _, p := range c.addPickers {
		k.layout.buildPicker(k.conn, p)
	}
	if err := k.queueElements(c.del, k.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := k.queueElements(c.add, k.conn.SetAddElements); err != nil {
		return err
	}
	for _, p := range c.delPickers {
		chain := &nftables.Chain{Table: k.layout.table, Name: p.name()}
		k.conn.FlushChain(chain)
		k.conn.DelChain(chain)
	}
	return nil
}

func (k *kernel) queueElements(elements []element, send func(*nftables.Set, []nftables.SetElement) error) error {
	bySet := map[setName][]nftables.SetElement{}
	for _, e := range elements {
		bySet[e.set] = append(bySet[e.set], e.encode())
	}
	for name, all := range bySet {
		for len(all) > 0 {
			n := min(len(all), messageElements)
			if err := send(k.sets[name], all[:n]); err != nil {
				return fmt.Errorf("cannot encode elements of %s: %w", name, err)
			}
			all = all[n:]
		}
	}
	return nil
}

func (e element) encode() nftables.SetElement {
	out := nftables.SetElement{Key: []byte(e.key)}
	if e.end != "" {
		out.KeyEnd = []byte(e.end)
	}
	switch {
	case e.set != setServices && e.set != setExternal:
		out.Val = []byte(e.value)
	case e.value == verdictDrop:
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictDrop}
	default:
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.value}
	}
	return out
}

// present says whether the table is there with this layout. It lists chains, of which there are few, and no elements.
func (k *kernel) present() (bool, error) {
	chains, err := k.conn.ListChainsOfTableFamily(k.layout.table.Family)
	if err != nil {
		return false, fmt.Errorf("cannot look for table %s: %w", TableName, err)
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == TableName && c.Name == k.layout.marker()
	}), nil
}

// replace writes the whole table anew in one transaction, whatever there was before: at no moment is there half a table.
func (k *kernel) replace(c change) error {
	k.conn.AddTable(k.layout.table) // so that there is one to delete
	k.conn.DelTable(k.layout.table)
	k.conn.AddTable(k.layout.table)
	if err := k.layout.build(k.conn); err != nil {
		return err
	}
	if err := k.queue(c); err != nil {
		return err
	}
	return k.flush()
}

// read lists what the kernel has of the table's changing part.
func (k *kernel) read() (map[elementKey]string, map[picker]bool, error) {
	have := map[elementKey]string{}
	for name, set := range k.sets {
		if name == setAffinity {
			continue
		}
		elements, err := k.conn.GetSetElements(set)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot list elements of %s: %w", name, err)
		}
		for _, e := range elements {
			key := elementKey{set: name, key: string(e.Key), end: string(e.KeyEnd)}
			if have[key], err = decodeValue(name, e.Val); err != nil {
				return nil, nil, fmt.Errorf("cannot decode element of %s: %w", name, err)
			}
		}
	}
	chains, err := k.conn.ListChainsOfTableFamily(k.layout.table.Family)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list chains: %w", err)
	}
	pickers := map[picker]bool{}
	for _, c := range chains {
		if p, ok := parsePicker(c.Name); ok && c.Table.Name == TableName {
			pickers[p] = true
		}
	}
	return have, pickers, nil
}

// decodeValue undoes element.encode. The library hands out a verdict as the attributes that it has in the message.
func decodeValue(set setName, val []byte) (string, error) {
	if set != setServices && set != setExternal {
		return string(val), nil
	}
	ad, err := netlink.NewAttributeDecoder(val)
	if err != nil {
		return "", err
	}
	var code int32
	var chain string
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			code = int32(bigEndian(ad.Bytes()))
		case unix.NFTA_VERDICT_CHAIN:
			chain = strings.TrimRight(string(ad.Bytes()), "\x00")
		}
	}
	if err := ad.Err(); err != nil {
		return "", err
	}
	if chain == "" && code == 0 {
		return verdictDrop, nil
	}
	return chain, nil
}

// Cleanup removes the table. It needs no Proxy and can be repeated.
func Cleanup() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("cannot open nftables: %w", err)
	}
	table := &nftables.Table{Name: TableName, Family: nftables.TableFamilyIPv4}
	conn.AddTable(table) // deleting a table that is not there would be an error
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot remove table %s: %w", TableName, err)
	}
	return nil
}
