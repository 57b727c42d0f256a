package api

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// maxDepth is how deep a body may nest: what decodes it, and all that goes through it later, calls itself.
	maxDepth = 1000
	// maxList is how many objects a list or map in a body may have, and maxObjects how many there may be in all: an
	// object of two bytes takes up to a thousand once it is decoded.
	maxList    = 10_000
	maxObjects = 100_000
)

func bodyTooDeep() error {
	return apierrors.NewBadRequest(fmt.Sprintf("the request's body nests deeper than %d", maxDepth))
}

func bodyTooLong(limit int) error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d objects in a list and %d in all", limit, maxObjects))
}

// checkJSON refuses JSON that nests deeper than maxDepth, has a list or map of more than list objects or more than
// maxObjects in all. It counts brackets outside of strings and is right for all valid JSON; invalid JSON is refused by
// the decoder.
func checkJSON(data []byte, list int) error {
	var room [64]int
	within := room[:1] // how many objects there are in each of what encloses the current place
	objects, inString := 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
		case '{', '[':
			objects++
			at := len(within) - 1
			if within[at]++; within[at] > list || objects > maxObjects {
				return bodyTooLong(list)
			}
			if within = append(within, 0); len(within) > maxDepth+1 {
				return bodyTooDeep()
			}
		case '}', ']':
			if len(within) > 1 {
				within = within[:len(within)-1]
			}
		}
	}
	return nil
}

// nests says whether a message of the object's type can hold another of a type that it is in itself: schemas alone do.
func nests(obj runtime.Object) bool {
	_, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	return ok
}

// Wire types of protobuf.
const (
	wireVarint = iota
	wireFixed64
	wireBytes
	wireStartGroup
	wireEndGroup
	wireFixed32
)

// tooDeepProtobuf says whether a message nests deeper than maxDepth. It takes every field of bytes for a message as far
// as it reads as one, since the decoder goes down before it finds what is wrong further on, and reads as loosely as the
// decoder does. A field's content is looked at for its own fields alone, so that the time is that of reading the body
// once.
func tooDeepProtobuf(message []byte) bool {
	open := [][]byte{message} // what is left of the messages that enclose the current place
	for len(open) > 0 {
		if len(open) > maxDepth {
			return true
		}
		_, content, rest, ok := nextField(open[len(open)-1])
		if !ok {
			open = open[:len(open)-1]
			continue
		}
		open[len(open)-1] = rest
		if content != nil {
			open = append(open, content)
		}
	}
	return false
}

// nextField reads one field: its number, the content of bytes, nil for others, and what follows it. What is in a group
// reads as fields beside it.
func nextField(b []byte) (number uint64, content, rest []byte, ok bool) {
	tag, b, ok := varint(b)
	if !ok {
		return 0, nil, nil, false
	}
	number = tag >> 3
	size := uint64(0)
	switch tag & 7 {
	case wireVarint:
		_, b, ok = varint(b)
		return number, nil, b, ok
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireStartGroup, wireEndGroup:
	case wireBytes:
		if size, b, ok = varint(b); !ok || size > uint64(len(b)) {
			return 0, nil, nil, false
		}
		return number, b[:size:size], b[size:], true
	default:
		return 0, nil, nil, false
	}
	if size > uint64(len(b)) {
		return 0, nil, nil, false
	}
	return number, nil, b[size:], true
}

// varint reads a number as the decoder does: of ten bytes at most, bits beyond 64 lost.
func varint(b []byte) (v uint64, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}
