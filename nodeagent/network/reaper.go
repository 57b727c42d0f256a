package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reaperGroup is the device group of links that are about to be removed. No other link may be in it.
const reaperGroup = 0x66_61_69_72

// reaper removes links. The kernel holds its lock of all network configuration for about 20 ms to remove a link, and no
// longer to remove a whole group: so links that are to be removed at once go together. It is safe for concurrent use.
type reaper struct {
	handle *netlink.Handle
	conn   *mdlayher.Conn // for the one request that handle does not have

	queued sync.Mutex
	queue  []*removal

	removing sync.Mutex // held by the one that removes, for all that are queued
}

// removal is one link to be removed; done and err are guarded by reaper.removing.
type removal struct {
	name string
	done bool
	err  error
}

func openReaper(handle *netlink.Handle) (*reaper, error) {
	conn, err := mdlayher.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	return &reaper{handle: handle, conn: conn}, nil
}

func (r *reaper) close() { _ = r.conn.Close() }

// remove removes the link of this name, if there is one. What queues up while others are removed goes in one batch.
func (r *reaper) remove(name string) error {
	own := &removal{name: name}
	r.queued.Lock()
	r.queue = append(r.queue, own)
	r.queued.Unlock()

	r.removing.Lock()
	defer r.removing.Unlock()
	if !own.done {
		r.queued.Lock()
		batch := r.queue
		r.queue = nil
		r.queued.Unlock()
		r.removeAll(batch)
	}
	if own.err != nil && !isNotFound(own.err) {
		return fmt.Errorf("cannot remove link %s: %w", name, own.err)
	}
	return nil
}

func (r *reaper) removeAll(batch []*removal) {
	var links []netlink.Link
	var found []*removal
	for _, m := range batch {
		m.done = true
		link, err := r.handle.LinkByName(m.name)
		if err != nil {
			m.err = err
			continue
		}
		links, found = append(links, link), append(found, m)
	}
	if len(links) > 1 && r.removeGroup(links) == nil {
		return
	}
	for i, link := range links {
		found[i].err = r.handle.LinkDel(link)
	}
}

// removeGroup removes several links by one request. After an error some may be left.
func (r *reaper) removeGroup(links []netlink.Link) error {
	for _, link := range links {
		if err := r.handle.LinkSetGroup(link, reaperGroup); err != nil && !isNotFound(err) {
			return err
		}
	}
	group, err := mdlayher.MarshalAttributes([]mdlayher.Attribute{
		{Type: unix.IFLA_GROUP, Data: binary.NativeEndian.AppendUint32(nil, reaperGroup)},
	})
	if err != nil {
		return err
	}
	_, err = r.conn.Execute(mdlayher.Message{
		Header: mdlayher.Header{Type: unix.RTM_DELLINK, Flags: mdlayher.Request | mdlayher.Acknowledge},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), group...),
	})
	if errors.Is(err, unix.ENODEV) { // all went by themselves, with their namespaces
		return nil
	}
	return err
}
