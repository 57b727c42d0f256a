// Package unversioned quotes values of the API in the form that they have inside of kube-apiserver, where types belong to no
// version and their fields have no names for JSON: it is that form which its errors show.
package unversioned

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Form returns what is encoded as JSON like the unversioned form of a value, as far as that has the same fields in the same
// order: the value itself where that is no struct of the API's, nor a pointer to one or a list of them. It must not change
// meanwhile.
func Form(v any) any {
	t := reflect.TypeOf(v)
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct || !ofAPI(t) {
		return v
	}
	return form{v}
}

type form struct{ value any }

// MarshalJSON implements json.Marshaler.
func (f form) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := write(&b, reflect.ValueOf(f.value))
	return b.Bytes(), err
}

// ofAPI says whether a type is one of the API's versions; others are the same in all forms.
func ofAPI(t reflect.Type) bool { return strings.HasPrefix(t.PkgPath(), "k8s.io/api/") }

func write(b *bytes.Buffer, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return write(b, v.Elem())
		}
	case reflect.Struct:
		if ofAPI(v.Type()) {
			b.WriteByte('{')
			if err := writeFields(b, v); err != nil {
				return err
			}
			b.WriteByte('}')
			return nil
		}
	case reflect.Slice:
		if !v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8 {
			return writeList(b, v)
		}
	case reflect.Map:
		if !v.IsNil() {
			return writeMap(b, v)
		}
	}
	var plain any
	if v.IsValid() {
		plain = v.Interface()
	}
	data, err := json.Marshal(plain)
	b.Write(data)
	return err
}

// writeFields writes fields by the names that they have in Go, without braces.
func writeFields(b *bytes.Buffer, v reflect.Value) error {
	start := b.Len()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		at := b.Len()
		if at > start {
			b.WriteByte(',')
		}
		before := b.Len()
		var err error
		switch {
		case f.Anonymous && f.Name == "TypeMeta": // says the version
		case f.Anonymous && ofAPI(f.Type):
			err = writeFields(b, v.Field(i))
		case f.Anonymous: // metadata has names for JSON everywhere
			var data []byte
			data, err = json.Marshal(v.Field(i).Interface())
			b.Write(bytes.TrimSuffix(bytes.TrimPrefix(data, []byte("{")), []byte("}")))
		default:
			b.WriteString(`"` + f.Name + `":`)
			err = write(b, v.Field(i))
		}
		if err != nil {
			return err
		}
		if b.Len() == before { // nothing to separate
			b.Truncate(at)
		}
	}
	return nil
}

func writeList(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := write(b, v.Index(i)); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeMap(b *bytes.Buffer, v reflect.Value) error {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := write(b, k); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := write(b, v.MapIndex(k)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}
