package api

import (
	"bytes"
	"sync/atomic"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

const (
	// frameSlots bounds the frames that are kept: watchers of one event write it at about the same time, and
	// events follow each other in order.
	frameSlots = 64
	// maxFrameKept bounds what one slot holds. Larger frames are written from the object's shared bytes.
	maxFrameKept = 8 << 10
)

// frameCache keeps the last watch frames, so that an event is framed once for all of its watchers. It is safe for
// concurrent use; two that frame the same event at once both do the work.
type frameCache struct {
	slots [frameSlots]atomic.Pointer[keptFrame]
}

// frameKey is what a frame depends on.
type frameKey struct {
	item     *store.Item
	event    store.EventType
	envelope *envelope
	encoding encoding
}

type keptFrame struct {
	key   frameKey
	bytes [1][]byte
}

// frame returns the frame of key, made by build when it is not kept. The bytes are shared.
func (c *frameCache) frame(key frameKey, build func() ([][]byte, error)) ([][]byte, error) {
	slot := &c.slots[uint64(key.item.Revision)%frameSlots]
	if kept := slot.Load(); kept != nil && kept.key == key {
		return kept.bytes[:], nil
	}
	parts, err := build()
	if err != nil {
		return nil, err
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > maxFrameKept {
		return parts, nil
	}
	kept := &keptFrame{key: key, bytes: [1][]byte{bytes.Join(parts, nil)}}
	slot.Store(kept)
	return kept.bytes[:], nil
}
