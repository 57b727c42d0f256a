package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unique"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// protoMagic starts a stored protobuf value, as in kube-apiserver's storage; a runtime.Unknown follows.
var protoMagic = []byte("k8s\x00")

// pathOf returns the part of a resource's keys between the prefix and the object.
func pathOf(gr schema.GroupResource) string {
	if gr.Group == "" {
		return "core/" + gr.Resource
	}
	return gr.Group + "/" + gr.Resource
}

// keyOf returns an object's key within its resource; it is also how lists are sorted.
func keyOf(k *kind.Kind, namespace, name string) string {
	if !k.Namespaced {
		return name
	}
	return namespace + "/" + name
}

// marshal returns the bytes that are stored, before encryption. The object's TypeMeta and resourceVersion must
// be empty; they are not part of what is stored, or known from elsewhere.
func marshal(k *kind.Kind, obj kind.Object) ([]byte, error) {
	version, name := k.GroupVersionKind.ToAPIVersionAndKind()
	m, ok := obj.(runtime.ProtobufMarshaller)
	if custom, ok := obj.(*kind.Custom); ok && custom.APIVersion != "" {
		return json.Marshal(custom)
	}
	if !ok {
		return marshalJSON(version, name, obj)
	}
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: name}}
	size := m.Size()
	buf := make([]byte, len(protoMagic)+unknown.Size()+size+maxVarint+1)
	n, err := unknown.NestedMarshalTo(buf[copy(buf, protoMagic):], m, uint64(size))
	if err != nil {
		return nil, err
	}
	return buf[:len(protoMagic)+n], nil
}

// maxVarint is the length of the longest varint, that of the nested message's size.
const maxVarint = 10

func marshalJSON(version, name string, obj kind.Object) ([]byte, error) {
	b, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	meta, err := json.Marshal(runtime.TypeMeta{APIVersion: version, Kind: name})
	if err != nil {
		return nil, err
	}
	if len(b) <= len("{}") || b[0] != '{' {
		return nil, errors.New("the type does not encode as a JSON object")
	}
	meta[len(meta)-1] = ','
	return append(meta, b[1:]...), nil
}

// unmarshal is the inverse of marshal, and sets the defaults of what was stored by an older release. Custom objects
// stay as they were written: what their definition has meant since is seen to when they are read.
func unmarshal(k *kind.Kind, data []byte) (kind.Object, error) {
	obj := k.New()
	if message, ok := bytes.CutPrefix(data, protoMagic); ok {
		m, ok := obj.(protoMessage)
		if !ok {
			return nil, fmt.Errorf("it is stored as protobuf, which %T has not", obj)
		}
		raw, err := rawOf(message)
		if err != nil {
			return nil, err
		}
		if err := m.Unmarshal(raw); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(data, obj); err != nil {
		return nil, err
	}
	if !k.Custom {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		if k.Default != nil {
			k.Default(obj)
		}
	}
	intern(obj)
	return obj, nil
}

// rawOf returns the field raw of a runtime.Unknown. It is a part of message: decoding it makes a copy, and one is enough.
func rawOf(message []byte) ([]byte, error) {
	const raw = 2
	var out []byte
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		switch {
		case number != raw:
			n = protowire.ConsumeFieldValue(number, typ, message)
		case typ != protowire.BytesType:
			return nil, fmt.Errorf("the field raw has wire type %d", typ)
		default:
			out, n = protowire.ConsumeBytes(message)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
	}
	return out, nil
}

// intern shares the strings that many objects have in common.
func intern(obj metav1.Object) {
	obj.SetNamespace(shared(obj.GetNamespace()))
	if in := obj.GetLabels(); len(in) > 0 {
		out := make(map[string]string, len(in))
		for k, v := range in {
			out[shared(k)] = shared(v)
		}
		obj.SetLabels(out)
	}
	managed := obj.GetManagedFields()
	for i := range managed {
		f := &managed[i]
		f.Manager, f.APIVersion, f.FieldsType = shared(f.Manager), shared(f.APIVersion), shared(f.FieldsType)
		f.Subresource, f.Operation = shared(f.Subresource), metav1.ManagedFieldsOperationType(shared(string(f.Operation)))
	}
	owners := obj.GetOwnerReferences()
	for i := range owners {
		o := &owners[i]
		o.APIVersion, o.Kind, o.Name = shared(o.APIVersion), shared(o.Kind), shared(o.Name)
	}
}

func shared(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

// decode makes an item of what etcd holds.
func (s *Store) decode(c *cache, kv *mvccpb.KeyValue) (*Item, error) {
	key := string(kv.Key)
	data, stale := kv.Value, false
	var err error
	if s.transform != nil {
		if data, stale, err = s.transform.FromStorage(c.name, key, kv.Value); err != nil {
			return nil, fmt.Errorf("cannot decrypt %s: %w", key, err)
		}
	}
	obj, err := unmarshal(c.kind, data)
	if err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", key, err)
	}
	item := s.newItem(key[len(s.prefix)+len(c.path)+1:], obj, kv.ModRevision)
	item.lease, item.stale = clientv3.LeaseID(kv.Lease), stale
	return item, nil
}
