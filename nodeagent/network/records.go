package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// ErrExhausted says that every address of the node's pod range is in use. A later try succeeds once a pod has gone.
var ErrExhausted = errors.New("no free address in the node's pod range")

// record is what survives a restart: one file a pod, written before the pod's link is made and removed after the link
// is gone, so that a link without a record is always rubbish and a record without a link is always safe.
type record struct {
	UID       types.UID     `json:"uid"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Address   netip.Addr    `json:"address"`
	Ports     []PortMapping `json:"ports,omitempty"`
}

// records allocates addresses and keeps them on disk. It is safe for concurrent use.
type records struct {
	dir    string
	prefix netip.Prefix

	mu     sync.Mutex
	byPod  map[types.UID]record
	byAddr map[netip.Addr]types.UID
	last   netip.Addr // allocation goes on from here, so that an address rests before it is used again
}

// openRecords reads the records of a former process. A torn or foreign file can not exist under a final name, because
// files are renamed into place after fsync; one that does not parse or fit is an error and not an empty answer.
func openRecords(dir string, prefix netip.Prefix) (*records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make record directory: %w", err)
	}
	r := &records{dir: dir, prefix: prefix, byPod: map[types.UID]record{}, byAddr: map[netip.Addr]types.UID{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list records: %w", err)
	}
	r.last = prefix.Addr().Next()
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !strings.HasSuffix(e.Name(), ".json") {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("cannot remove unfinished record: %w", err)
			}
			continue
		}
		rec, err := readRecord(path)
		if err != nil {
			return nil, err
		}
		if other, taken := r.byAddr[rec.Address]; taken {
			return nil, fmt.Errorf("cannot use record %s: address %s belongs to pod %s too", path, rec.Address, other)
		}
		r.byPod[rec.UID], r.byAddr[rec.Address] = rec, rec.UID
		if r.last.Less(rec.Address) && prefix.Contains(rec.Address) {
			r.last = rec.Address
		}
	}
	return r, nil
}

func readRecord(path string) (record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return record{}, fmt.Errorf("cannot read record: %w", err)
	}
	rec, err := parseRecord(data)
	if err != nil {
		return record{}, fmt.Errorf("cannot use record %s: %w", path, err)
	}
	return rec, nil
}

func parseRecord(data []byte) (record, error) {
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return record{}, err
	}
	if rec.UID == "" || !rec.Address.Is4() {
		return record{}, fmt.Errorf("uid %q, address %q", rec.UID, rec.Address)
	}
	return rec, nil
}

// acquire returns the pod's record, and whether it is new. A new one is on disk when acquire returns.
func (r *records) acquire(pod Pod) (rec record, isNew bool, err error) {
	r.mu.Lock()
	old, known := r.byPod[pod.UID]
	if known && r.prefix.Contains(old.Address) {
		r.mu.Unlock()
		return old, false, nil
	}
	addr, ok := r.free()
	if !ok {
		r.mu.Unlock()
		return record{}, false, fmt.Errorf("cannot give pod %s/%s an address of %s: %w", pod.Namespace, pod.Name, r.prefix, ErrExhausted)
	}
	rec = record{UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, Address: addr, Ports: pod.Ports}
	if known {
		delete(r.byAddr, old.Address) // the node was given another range
	}
	r.byPod[pod.UID], r.byAddr[addr], r.last = rec, pod.UID, addr
	r.mu.Unlock()

	// Outside the lock: pods that start together share the disk's flushes. The caller holds the pod's own lock.
	if err := writeRecord(r.path(pod.UID), rec); err != nil {
		r.forget(rec)
		return record{}, false, err
	}
	return rec, true, nil
}

// free finds the next address after the last one given. The caller holds the lock.
func (r *records) free() (netip.Addr, bool) {
	first := r.prefix.Addr().Next().Next() // after tunnel and gateway
	end := broadcast(r.prefix)
	addr := r.last.Next()
	for range 1 << (32 - r.prefix.Bits()) {
		if addr.Less(first) || !addr.Less(end) {
			addr = first
		}
		if _, taken := r.byAddr[addr]; !taken {
			return addr, true
		}
		addr = addr.Next()
	}
	return netip.Addr{}, false
}

// release removes the pod's record from disk, then frees its address.
func (r *records) release(uid types.UID) error {
	rec, ok := r.get(uid)
	if !ok {
		return nil
	}
	if err := os.Remove(r.path(uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove record of pod %s: %w", uid, err)
	}
	r.forget(rec)
	return nil
}

func (r *records) forget(rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byPod, rec.UID)
	delete(r.byAddr, rec.Address)
}

func (r *records) get(uid types.UID) (record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.byPod[uid]
	return rec, ok
}

func (r *records) all() []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]record, 0, len(r.byPod))
	for _, rec := range r.byPod {
		out = append(out, rec)
	}
	return out
}

func (r *records) path(uid types.UID) string {
	return filepath.Join(r.dir, filepath.Base(string(uid))+".json")
}

// writeRecord puts a file in place whole or not at all, also when power fails.
func writeRecord(path string, v any) (err error) {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode record: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("cannot create record: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write record %s: %w", path, err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("cannot place record: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot open record directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("cannot flush record directory: %w", err)
	}
	return nil
}

// broadcast is the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
