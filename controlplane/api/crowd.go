package api

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// messageField is a field of a protobuf message that holds messages.
type messageField struct {
	message reflect.Type
	// list says that there may be many of them, entry that each is the value of an entry of a map.
	list, entry bool
}

// entryValue is the number of the value in an entry of a map.
const entryValue = 2

// messageFields has the fields of each Go type that hold messages: reflect.Type -> map[uint64]messageField.
var messageFields sync.Map

func messagesIn(t reflect.Type) map[uint64]messageField {
	if had, ok := messageFields.Load(t); ok {
		return had.(map[uint64]messageField)
	}
	fields := map[uint64]messageField{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := strings.Split(f.Tag.Get("protobuf"), ",")
		if len(tag) < 2 {
			continue
		}
		number, err := strconv.ParseUint(tag[1], 10, 32)
		if err != nil {
			continue
		}
		field := messageField{message: f.Type}
		switch f.Type.Kind() {
		case reflect.Slice:
			field.message, field.list = f.Type.Elem(), true
		case reflect.Map:
			field.message, field.list, field.entry = f.Type.Elem(), true, true
		}
		if field.message.Kind() == reflect.Pointer {
			field.message = field.message.Elem()
		}
		if field.message.Kind() == reflect.Struct {
			fields[number] = field
		}
	}
	had, _ := messageFields.LoadOrStore(t, fields)
	return had.(map[uint64]messageField)
}

// crowded says whether a protobuf message of the Go type t has a list or map of more than maxList messages, or more
// than maxObjects in all. Types that hold themselves must have been found not to nest too deep.
func crowded(message []byte, t reflect.Type) bool {
	objects := 0
	return len(message) > 2*maxList && crowdedIn(message, t, &objects)
}

func crowdedIn(message []byte, t reflect.Type, objects *int) bool {
	fields := messagesIn(t)
	if len(fields) == 0 {
		return false
	}
	var counts map[uint64]int
	for {
		number, content, rest, ok := nextField(message)
		if !ok {
			return false
		}
		message = rest
		field, holds := fields[number]
		if content == nil || !holds {
			continue
		}
		if *objects++; *objects > maxObjects {
			return true
		}
		if field.list {
			if counts == nil {
				counts = map[uint64]int{}
			}
			if counts[number]++; counts[number] > maxList {
				return true
			}
		}
		if field.entry {
			content = valueOf(content)
		}
		if len(content) > 0 && crowdedIn(content, field.message, objects) {
			return true
		}
	}
}

// valueOf is the value of an entry of a map: the last one, as the decoder has it.
func valueOf(entry []byte) (value []byte) {
	for {
		number, content, rest, ok := nextField(entry)
		if !ok {
			return value
		}
		if number == entryValue && content != nil {
			value = content
		}
		entry = rest
	}
}
