package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// protobufMagic begins every protobuf body of Kubernetes; a runtime.Unknown follows.
var protobufMagic = []byte{'k', '8', 's', 0}

// envelope wraps an object's shared bytes, which have no type, into what a client expects: the bytes are
// written between before and after and never copied.
type envelope struct {
	jsonOpen     []byte // {"kind":"Pod","apiVersion":"v1"
	listOpen     []byte // {"kind":"PodList","apiVersion":"v1"
	typeMeta     []byte // runtime.Unknown.typeMeta with its tag and length
	listTypeMeta []byte
	typedItems   bool // items of a list have their type too: custom resources, as clients know no type of theirs
	gvk          schema.GroupVersionKind
}

func newEnvelope(k *kind.Kind) *envelope {
	gvk, list := k.GroupVersionKind, k.ListKind
	if list == "" {
		list = gvk.Kind + "List"
	}
	api := gvk.GroupVersion().String()
	return &envelope{
		typedItems:   k.Custom,
		jsonOpen:     []byte(fmt.Sprintf(`{"kind":%q,"apiVersion":%q`, gvk.Kind, api)),
		listOpen:     []byte(fmt.Sprintf(`{"kind":%q,"apiVersion":%q`, list, api)),
		typeMeta:     typeMetaField(api, gvk.Kind),
		listTypeMeta: typeMetaField(api, list),
		gvk:          gvk,
	}
}

func typeMetaField(api, kind string) []byte {
	var meta []byte
	meta = appendBytesField(meta, 1, []byte(api))
	meta = appendBytesField(meta, 2, []byte(kind))
	return appendBytesField(nil, 1, meta)
}

// appendBytesField appends a length-delimited protobuf field.
func appendBytesField(b []byte, number int, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(number)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func fieldHead(number, size int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number)<<3|2), uint64(size))
}

// unknownTail ends a runtime.Unknown: empty contentEncoding and contentType.
var unknownTail = []byte{0x1a, 0, 0x22, 0}

// jsonParts returns the pieces of an object's JSON with its type.
func (e *envelope) jsonParts(body []byte) [][]byte {
	if len(body) <= 2 {
		return [][]byte{e.jsonOpen, []byte("}")}
	}
	return [][]byte{e.jsonOpen, []byte(","), body[1:]}
}

// protobufParts returns the pieces of an object's protobuf body.
func (e *envelope) protobufParts(body []byte) [][]byte {
	return [][]byte{protobufMagic, e.typeMeta, fieldHead(2, len(body)), body, unknownTail}
}

// parts returns the pieces of an object for an encoding other than YAML.
func (e *envelope) parts(item *store.Item, enc encoding) ([][]byte, error) {
	if enc == asProtobuf {
		body, err := item.Encoded(store.Protobuf)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		return e.protobufParts(body), nil
	}
	body, err := item.Encoded(store.JSON)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return e.jsonParts(body), nil
}

// encodeItem returns an item's bytes without its type.
type encodeItem func(*store.Item, store.Format) ([]byte, error)

// listParts returns the pieces of a list.
func (e *envelope) listParts(list *store.List, enc encoding, encode encodeItem) ([][]byte, error) {
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatInt(list.Revision, 10), Continue: list.Continue, RemainingItemCount: list.Remaining}
	if enc == asProtobuf {
		return e.protobufList(meta, list.Items, encode)
	}
	head, err := json.Marshal(meta)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	parts := make([][]byte, 0, 2*len(list.Items)+5)
	parts = append(parts, e.listOpen, []byte(`,"metadata":`), head, []byte(`,"items":[`))
	comma := []byte(",")
	for i, item := range list.Items {
		body, err := encode(item, store.JSON)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if i > 0 {
			parts = append(parts, comma)
		}
		if e.typedItems {
			parts = append(parts, e.jsonParts(body)...)
		} else {
			parts = append(parts, body)
		}
	}
	return append(parts, []byte("]}")), nil
}

func (e *envelope) protobufList(meta metav1.ListMeta, items []*store.Item, encode encodeItem) ([][]byte, error) {
	head, err := meta.Marshal()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	head = appendBytesField(nil, 1, head)
	size := len(head)
	parts := make([][]byte, 0, 2*len(items)+5)
	parts = append(parts, protobufMagic, e.listTypeMeta, nil, head)
	for _, item := range items {
		body, err := encode(item, store.Protobuf)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		field := fieldHead(2, len(body))
		size += len(field) + len(body)
		parts = append(parts, field, body)
	}
	parts[2] = fieldHead(2, size)
	return append(parts, unknownTail), nil
}

var newline = []byte{'\n'}

// writeParts answers with pieces of bytes.
func (s *Server) writeParts(w http.ResponseWriter, r *request, code int, m media, parts [][]byte) {
	switch {
	case m.encoding == asYAML || m.pretty:
		parts = [][]byte{reformat(bytes.Join(parts, nil), m)}
	case m.encoding == asJSON:
		parts = append(parts, newline) // as Kubernetes: what kubectl get --raw prints ends a line
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	h := w.Header()
	h.Set("Content-Type", m.contentType())
	h.Set("Cache-Control", "no-cache, private")
	r.setWarnings(h)
	if size > gzipFrom && r.gzip() {
		writeGzip(w, code, parts)
		return
	}
	h.Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return
	}
	if len(parts) <= 8 && size < 1<<14 {
		_, _ = w.Write(bytes.Join(parts, nil)) // one frame; a client that is gone is noticed by its context
		return
	}
	writeAll(w, parts)
}

func reformat(data []byte, m media) []byte {
	if m.encoding == asYAML {
		if out, err := yaml.JSONToYAML(data); err == nil {
			return out
		}
		return data
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return data
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// writeAll joins pieces and cuts them so that each write but the last fills a frame, and says whether all went out; it does not
// when the client is gone.
func writeAll(w io.Writer, parts [][]byte) bool {
	buf := frameBuffers.Get().(*[]byte)
	b := (*buf)[:0]
	for _, p := range parts {
		for len(p) > 0 {
			n := copy(b[len(b):cap(b)], p)
			b, p = b[:len(b)+n], p[n:]
			if len(b) < cap(b) {
				continue
			}
			if _, err := w.Write(b); err != nil {
				return false
			}
			b = b[:0]
		}
	}
	if _, err := w.Write(b); err != nil {
		return false
	}
	*buf = b[:0]
	frameBuffers.Put(buf)
	return true
}

// writeItem answers with one object as the client accepts it.
func (s *Server) writeItem(w http.ResponseWriter, r *request, code int, k *kind.Kind, item *store.Item) {
	m, err := negotiate(r, offers{tables: true, partial: true, custom: k.Custom})
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	r.audit.response(item.Object)
	switch m.transform {
	case asTable:
		list := &store.List{Items: []*store.Item{item}}
		table, err := tableOf(k, list, m, includeOf(r), s.now())
		if err != nil {
			s.writeError(w, r, err)
			return
		}
		table.ResourceVersion = item.Object.GetResourceVersion()
		s.writeObject(w, r, code, m, table)
		return
	case asPartial:
		s.writeObject(w, r, code, m, partialOf(item.Object, m.version))
		return
	}
	enc := m.encoding
	if enc == asYAML {
		enc = asJSON
	}
	parts, err := s.envelope(k).parts(item, enc)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	s.writeParts(w, r, code, m, parts)
}

// writeList answers with a list as the client accepts it.
func (s *Server) writeList(w http.ResponseWriter, r *request, k *kind.Kind, list *store.List) {
	m, err := negotiate(r, offers{tables: true, partialList: true, custom: k.Custom})
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	switch m.transform {
	case asTable:
		table, err := tableOf(k, list, m, includeOf(r), s.now())
		if err != nil {
			s.writeError(w, r, err)
			return
		}
		s.writeObject(w, r, http.StatusOK, m, table)
		return
	case asPartialList:
		s.writeObject(w, r, http.StatusOK, m, partialListOf(list, m.version))
		return
	}
	enc := m.encoding
	if enc == asYAML {
		enc = asJSON
	}
	encode := (*store.Item).Encoded
	if list.Continue != "" || r.query.Get("continue") != "" {
		// pages are for what is too much to be held at once
		var mem arena
		defer mem.release()
		encode = func(it *store.Item, f store.Format) ([]byte, error) { return it.EncodedOnce(f, mem.take) }
	}
	parts, err := s.envelope(k).listParts(list, enc, encode)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	s.writeParts(w, r, http.StatusOK, m, parts)
}

// writeObject answers with an object that is not in the store; its TypeMeta is set.
func (s *Server) writeObject(w http.ResponseWriter, r *request, code int, m media, obj runtime.Object) {
	if m.encoding == asProtobuf {
		body, ok, err := protobufOf(obj)
		if err != nil {
			s.writeError(w, r, apierrors.NewInternalError(err))
			return
		}
		if ok {
			gvk := obj.GetObjectKind().GroupVersionKind()
			e := &envelope{typeMeta: typeMetaField(gvk.GroupVersion().String(), gvk.Kind)}
			s.writeParts(w, r, code, m, e.protobufParts(body))
			return
		}
		m.encoding = asJSON
	}
	data, err := json.Marshal(obj)
	if err != nil {
		s.writeError(w, r, apierrors.NewInternalError(err))
		return
	}
	s.writeParts(w, r, code, m, [][]byte{data})
}

// answer writes an object that is not in the store, negotiating without transforms.
func (s *Server) answer(w http.ResponseWriter, r *request, code int, obj runtime.Object) {
	m, err := negotiate(r, offers{})
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	s.writeObject(w, r, code, m, obj)
}

func protobufOf(obj runtime.Object) ([]byte, bool, error) {
	p, ok := obj.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, false, nil
	}
	data, err := p.Marshal()
	return data, true, err
}

// setWarnings adds the collected warnings as headers of RFC 7234 section 5.5.
func (r *request) setWarnings(h http.Header) {
	for _, text := range r.warnings {
		h.Add("Warning", `299 - "`+warningEscaper.Replace(text)+`"`)
	}
	r.warnings = nil
}

var warningEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ", "\r", " ", "\t", " ")

// writeTyped answers with bytes of a content type of their own.
func (s *Server) writeTyped(w http.ResponseWriter, r *request, contentType string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	if len(data) > gzipFrom && r.gzip() {
		writeGzip(w, http.StatusOK, [][]byte{data})
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
