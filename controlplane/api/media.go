package api

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// encoding is a form of bytes on the wire.
type encoding int

const (
	asJSON encoding = iota
	asYAML
	asProtobuf
)

// The content types of Kubernetes.
const (
	typeJSON     = "application/json"
	typeYAML     = "application/yaml"
	typeProtobuf = "application/vnd.kubernetes.protobuf"
)

// transform is what an Accept header makes of objects.
type transform int

const (
	asIs transform = iota
	asTable
	asPartial
	asPartialList
)

// media is one alternative of an Accept header.
type media struct {
	encoding  encoding
	transform transform
	version   string // of the transform: v1 or v1beta1
	pretty    bool
	profile   string // aggregated discovery
}

func (m media) contentType() string {
	switch m.encoding {
	case asYAML:
		return typeYAML
	case asProtobuf:
		return typeProtobuf
	}
	return typeJSON
}

// offers says which alternatives a handler can answer with.
type offers struct {
	tables, partial, partialList bool
	stream                       bool // no YAML
	custom                       bool // objects as they are have no protobuf form
}

// accepts caches parsed Accept headers: there are few and each request sends one. It stops growing at
// maxAccepts, so that no client can fill it.
var (
	accepts     sync.Map
	acceptCount atomic.Int32
)

const maxAccepts = 256

// negotiate chooses the first alternative of the Accept header that the handler offers. An absent header means
// JSON.
func negotiate(r *request, o offers) (media, error) {
	header := r.Header.Get("Accept")
	for _, m := range alternatives(header) {
		switch m.transform {
		case asTable:
			if !o.tables || m.encoding == asProtobuf {
				continue
			}
		case asPartial:
			if !o.partial {
				continue
			}
		case asPartialList:
			if !o.partialList {
				continue
			}
		}
		if o.custom && m.transform == asIs && m.encoding == asProtobuf {
			continue
		}
		if o.stream && m.encoding == asYAML {
			continue
		}
		m.pretty = m.encoding == asJSON && wantsPretty(r)
		return m, nil
	}
	return media{}, notAcceptable(o)
}

func notAcceptable(o offers) error {
	types := []string{typeJSON, typeYAML, typeProtobuf}
	if o.stream {
		types = []string{typeJSON + ";stream=watch", typeProtobuf + ";stream=watch"}
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join(types, ", "),
	}}
}

func unsupportedMedia(types ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join(types, ", "),
	}}
}

// wantsPretty indents for people: when asked for, and for the clients that people type.
func wantsPretty(r *request) bool {
	if r.query.Has("pretty") {
		return truth(r.query, "pretty")
	}
	agent := r.Header.Get("User-Agent")
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

func alternatives(header string) []media {
	if v, ok := accepts.Load(header); ok {
		return v.([]media)
	}
	list := parseAccept(header)
	if acceptCount.Add(1) <= maxAccepts {
		accepts.Store(header, list)
	}
	return list
}

func parseAccept(header string) []media {
	if strings.TrimSpace(header) == "" {
		return []media{{}}
	}
	type weighted struct {
		media
		q float64
	}
	var found []weighted
	for _, part := range strings.Split(header, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		m, ok := mediaOf(name, params)
		if !ok {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if v, err := strconv.ParseFloat(text, 64); err == nil {
				q = v
			}
		}
		if q <= 0 {
			continue
		}
		at := len(found)
		for at > 0 && found[at-1].q < q {
			at--
		}
		found = append(found, weighted{})
		copy(found[at+1:], found[at:])
		found[at] = weighted{m, q}
	}
	out := make([]media, len(found))
	for i := range found {
		out[i] = found[i].media
	}
	return out
}

func mediaOf(name string, params map[string]string) (media, bool) {
	var m media
	switch name {
	case "*/*", "application/*", typeJSON, "text/json":
	case typeYAML, "text/yaml", "application/x-yaml":
		m.encoding = asYAML
	case typeProtobuf:
		m.encoding = asProtobuf
	default:
		return m, false
	}
	m.version = params["v"]
	switch params["as"] {
	case "":
	case "Table":
		m.transform = asTable
	case "PartialObjectMetadata":
		m.transform = asPartial
	case "PartialObjectMetadataList":
		m.transform = asPartialList
	default:
		m.profile = params["as"]
		return m, true
	}
	if m.transform != asIs && (params["g"] != metav1.GroupName || m.version != "v1" && m.version != "v1beta1") {
		return m, false
	}
	return m, true
}

// bodyEncoding reads the Content-Type of a request; absent means JSON.
func bodyEncoding(r *request) (encoding, error) {
	header := r.Header.Get("Content-Type")
	if header == "" || header == typeJSON {
		return asJSON, nil
	}
	name, _, err := mime.ParseMediaType(header)
	if err == nil {
		switch name {
		case typeJSON, "text/json":
			return asJSON, nil
		case typeYAML, "text/yaml", "application/x-yaml":
			return asYAML, nil
		case typeProtobuf:
			return asProtobuf, nil
		}
	}
	return asJSON, unsupportedMedia(typeJSON, typeYAML, typeProtobuf)
}
