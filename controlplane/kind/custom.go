package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
)

// Custom is an object of a kind that is defined at run time. Its metadata is typed like that of every object;
// what else it has is Content, without apiVersion, kind and metadata. In the store, its TypeMeta says in which
// version it was written; everywhere else it is empty, as for all objects.
type Custom struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Content map[string]any
}

var _ Object = (*Custom)(nil)

// DeepCopyObject implements runtime.Object.
func (c *Custom) DeepCopyObject() runtime.Object {
	out := &Custom{TypeMeta: c.TypeMeta, Content: runtime.DeepCopyJSON(c.Content)}
	c.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return out
}

// Map returns the whole object as a map that shares Content and has metadata of its own.
func (c *Custom) Map() (map[string]any, error) {
	meta, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c.ObjectMeta)
	if err != nil {
		return nil, fmt.Errorf("cannot convert metadata of %s: %w", c.Name, err)
	}
	if meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	m := make(map[string]any, len(c.Content)+3)
	maps.Copy(m, c.Content)
	m["metadata"] = meta
	if c.APIVersion != "" {
		m["apiVersion"] = c.APIVersion
	}
	if c.Kind != "" {
		m["kind"] = c.Kind
	}
	return m, nil
}

// SetMap makes the object what m says; it takes over all of m but its metadata. It returns what is unknown or
// wrong in a way that Kubernetes lets pass unless asked to be strict.
func (c *Custom) SetMap(m map[string]any) (strict []error, err error) {
	next := Custom{Content: m}
	for name, into := range map[string]*string{"apiVersion": &next.APIVersion, "kind": &next.Kind} {
		v, ok := m[name]
		if !ok {
			continue
		}
		if *into, ok = v.(string); !ok {
			return nil, fmt.Errorf("cannot decode %s: it is %T and not a string", name, v)
		}
	}
	if meta, ok := m["metadata"]; ok && meta != nil {
		fields, ok := meta.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("cannot decode metadata: it is %T and not an object", meta)
		}
		var typed metaOnly
		err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(map[string]any{"metadata": fields}, &typed, true)
		if found, ok := runtime.AsStrictDecodingError(err); ok {
			strict, err = found.Errors(), nil
		}
		if err != nil {
			return nil, err
		}
		next.ObjectMeta = typed.Metadata
	}
	delete(m, "apiVersion")
	delete(m, "kind")
	delete(m, "metadata")
	*c = next
	return strict, nil
}

// metaOnly gives decoders the path that metadata has.
type metaOnly struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
}

// MarshalJSON implements json.Marshaler.
func (c *Custom) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(c.Content)+3)
	maps.Copy(m, c.Content)
	m["metadata"] = &c.ObjectMeta
	if c.APIVersion != "" {
		m["apiVersion"] = c.APIVersion
	}
	if c.Kind != "" {
		m["kind"] = c.Kind
	}
	return json.Marshal(m)
}

// UnmarshalJSON implements json.Unmarshaler, without strictness; see Decode.
func (c *Custom) UnmarshalJSON(data []byte) error {
	var m map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &m); err != nil {
		return err
	}
	if m == nil {
		return errors.New("cannot decode an object: it is null")
	}
	_, err := c.SetMap(m)
	return err
}

// Decode decodes JSON, and returns what a strict reader refuses: fields that are there twice, unknown fields of
// metadata. Fields of the rest are the schema's: see Kind.Prune.
func (c *Custom) Decode(data []byte) (strict []error, err error) {
	var m map[string]any
	twice, err := kjson.UnmarshalStrict(data, &m)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("cannot decode an object: it is null")
	}
	unknown, err := c.SetMap(m)
	return append(twice, unknown...), err
}

// CustomList is a list of objects of a kind that is defined at run time.
type CustomList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Custom `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *CustomList) DeepCopyObject() runtime.Object {
	out := &CustomList{TypeMeta: l.TypeMeta, Items: make([]Custom, len(l.Items))}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*Custom)
	}
	return out
}
