package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// openAPI publishes the schema of every kind, made from the Go types and their documentation. Documents are
// made when first asked for and kept compressed: they are large and rarely read.
type openAPI struct {
	kinds *kind.Table
	merge func() *smdschema.Schema

	mu      sync.Mutex
	number  int64 // of the table that index and v3 are of
	index   *packed
	v3      map[string]*packed      // by path below /openapi/v3/
	v3of    map[string][]*kind.Kind // what each is made of
	v3pb    map[string]*packed
	number2 int64 // of the table that v2 is of
	v2      *packed
	v2pb    *packed
}

// packed is a compressed document.
type packed struct {
	gzip []byte
	tag  string
}

// The content types of OpenAPI documents.
const (
	openAPIv2Protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	openAPIv2Old      = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" // no media type by RFC 6838, but asked for
	openAPIv3Protobuf = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
	openAPIv3Old      = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
)

// schemaPrefix is that of references in documents of version 3.
const schemaPrefix = "#/components/schemas/"

func newOpenAPI(kinds *kind.Table, merge func() *smdschema.Schema) *openAPI {
	return &openAPI{kinds: kinds, merge: merge, v3: map[string]*packed{}, v3of: map[string][]*kind.Kind{}, v3pb: map[string]*packed{}}
}

// packer compresses documents, one after the other: what compresses is large.
type packer struct {
	out bytes.Buffer
	w   *gzip.Writer
}

func (p *packer) pack(data []byte) (*packed, error) {
	p.out.Reset()
	if p.w == nil {
		p.w = gzip.NewWriter(&p.out)
	}
	p.w.Reset(&p.out)
	if _, err := p.w.Write(data); err != nil {
		return nil, err
	}
	if err := p.w.Close(); err != nil {
		return nil, err
	}
	return &packed{gzip: bytes.Clone(p.out.Bytes()), tag: fmt.Sprintf("%X", sha512.Sum512(data))}, nil
}

func pack(data []byte) (*packed, error) { return new(packer).pack(data) }

func (p *packed) unpack() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(p.gzip))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// serve answers /openapi/v2, /openapi/v3 and what is below that.
func (o *openAPI) serve(_ *Server, w http.ResponseWriter, r *request, path string) error {
	accept := r.Header.Get("Accept")
	if path == "/openapi/v2" {
		if strings.Contains(accept, openAPIv2Protobuf) || strings.Contains(accept, openAPIv2Old) {
			return o.send(w, r, openAPIv2Protobuf, o.version2Protobuf)
		}
		return o.send(w, r, typeJSON, o.version2)
	}
	if path == "/openapi/v3" {
		return o.send(w, r, typeJSON, func() (*packed, error) { err := o.version3(); return o.index, err })
	}
	gv := strings.TrimPrefix(path, "/openapi/v3/")
	if strings.Contains(accept, openAPIv3Protobuf) || strings.Contains(accept, openAPIv3Old) {
		return o.send(w, r, openAPIv3Protobuf, func() (*packed, error) { return o.version3Protobuf(gv) })
	}
	return o.send(w, r, typeJSON, func() (*packed, error) { err := o.version3(); return o.v3[gv], err })
}

// locked makes one document at a time; what panics leaves the lock free.
func (o *openAPI) locked(get func() (*packed, error)) (*packed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return get()
}

func (o *openAPI) send(w http.ResponseWriter, r *request, contentType string, get func() (*packed, error)) error {
	doc, err := o.locked(get)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot make OpenAPI document: %w", err))
	}
	if doc == nil {
		return errPathNotFound
	}
	h := w.Header()
	h.Set("ETag", `"`+doc.tag+`"`)
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Content-Type", contentType)
	if r.query.Get("hash") == doc.tag {
		h.Set("Cache-Control", "public, immutable")
	}
	if r.Header.Get("If-None-Match") == `"`+doc.tag+`"` {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(doc.gzip)
		return nil
	}
	data, err := doc.unpack()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	_, _ = w.Write(data)
	return nil
}

// settle gives memory back after many documents were made, which happens once or seldom: they take many times what is kept of
// them, and a server that has little to do would hold that for minutes.
func settle() { debug.FreeOSMemory() }

// version3 makes the documents of all group versions and their index; of those that are there already, only what
// has changed. The caller holds the lock.
func (o *openAPI) version3() error {
	number := o.kinds.Number()
	if o.index != nil && o.number == number {
		return nil
	}
	if o.index == nil {
		defer settle()
	}
	docs, of := map[string]*packed{}, map[string][]*kind.Kind{}
	paths := map[string]any{}
	var packer packer
	for name, part := range parts(o.kinds) {
		of[name] = part.kinds
		p := o.v3[name]
		if p == nil || !slices.Equal(o.v3of[name], part.kinds) {
			delete(o.v3pb, name)
			data, err := json.Marshal(newDocument(o.merge(), schemaPrefix, true).make(part))
			if err != nil {
				return err
			}
			if p, err = packer.pack(data); err != nil {
				return err
			}
		}
		docs[name] = p
		paths[name] = map[string]string{"serverRelativeURL": "/openapi/v3/" + name + "?hash=" + p.tag}
	}
	data, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return err
	}
	if o.index, err = packer.pack(data); err != nil {
		return err
	}
	o.number, o.v3, o.v3of = number, docs, of
	return nil
}

func (o *openAPI) version3Protobuf(gv string) (*packed, error) {
	if err := o.version3(); err != nil || o.v3[gv] == nil {
		return nil, err
	}
	if p := o.v3pb[gv]; p != nil {
		return p, nil
	}
	data, err := o.v3[gv].unpack()
	if err != nil {
		return nil, err
	}
	doc, err := openapiv3.ParseDocument(data)
	if err != nil {
		return nil, err
	}
	if data, err = proto.Marshal(doc); err != nil {
		return nil, err
	}
	o.v3pb[gv], err = pack(data)
	return o.v3pb[gv], err
}

// version2 makes the one document of all groups. The caller holds the lock.
func (o *openAPI) version2() (*packed, error) {
	number := o.kinds.Number()
	if o.v2 != nil && o.number2 == number {
		return o.v2, nil
	}
	defer settle()
	data, err := json.Marshal(newDocument(o.merge(), "#/definitions/", false).make(whole(o.kinds)))
	if err != nil {
		return nil, err
	}
	o.v2, err = pack(data)
	o.number2, o.v2pb = number, nil
	return o.v2, err
}

func (o *openAPI) version2Protobuf() (*packed, error) {
	p, err := o.version2()
	if err != nil || o.v2pb != nil {
		return o.v2pb, err
	}
	data, err := p.unpack()
	if err != nil {
		return nil, err
	}
	doc, err := openapiv2.ParseDocument(data)
	if err != nil {
		return nil, err
	}
	if data, err = proto.Marshal(doc); err != nil {
		return nil, err
	}
	o.v2pb, err = pack(data)
	return o.v2pb, err
}

// rootOf is the path of a group version.
func rootOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
