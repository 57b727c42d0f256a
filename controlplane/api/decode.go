package api

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// maxBody is the size of a request's body in bytes that Kubernetes accepts.
const maxBody = 3 << 20

// trustedBody is how many bytes are made room for before they have come.
const trustedBody = 64 << 10

// readBody reads a bounded body.
func readBody(r *request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(min(int(r.ContentLength), trustedBody) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(http.MaxBytesReader(nil, r.Body, maxBody)); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, tooLarge()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, apierrors.NewTimeoutError("the request's body did not come within the allowed time", 1)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, apierrors.NewBadRequest("the request's body ended early")
		}
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot read the request's body: %v", err))
	}
	return b.Bytes(), nil
}

func tooLarge() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
}

// typed is an object with its TypeMeta.
type typed interface{ GetObjectKind() schema.ObjectKind }

// decodeInto decodes a body into obj, whose kind is gvk. A body that names another kind is refused.
func decodeInto(r *request, data []byte, obj runtime.Object, gvk schema.GroupVersionKind, also ...schema.GroupVersion) error {
	r.wants = gvk
	enc, err := bodyEncoding(r)
	if err != nil {
		return err
	}
	var strict []error
	switch enc {
	case asProtobuf:
		err = decodeProtobuf(data, obj)
	case asYAML:
		strict, err = decodeYAML(r, data, obj)
	default:
		strict, err = decodeJSON(r, data, obj)
	}
	var bad *garbled
	if errors.As(err, &bad) {
		return unrecognized(gvk, data, bad)
	}
	if err != nil {
		return err
	}
	if t, ok := obj.GetObjectKind().(*metav1.TypeMeta); ok {
		if _, err := schema.ParseGroupVersion(t.APIVersion); err != nil {
			return unrecognized(gvk, data, err)
		}
	}
	if err := checkType(obj, gvk, also...); err != nil {
		return err
	}
	return r.strictFound(strict)
}

// garbled is what is wrong with a body that does not even say what it is.
type garbled struct{ error }

// unrecognized is the answer to such a body, with its beginning.
func unrecognized(want schema.GroupVersionKind, data []byte, err error) error {
	const shown = 30
	begin, more := data, ""
	if len(begin) > shown {
		begin, more = begin[:shown], " ..."
	}
	summary := hex.EncodeToString(begin) + more
	switch {
	case len(data) == 0:
		summary = "<empty>"
	case data[0] == '{':
		summary = string(begin) + more
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary))
}

// checkType refuses a body that says it is something else. Also are further versions that read like the one that is wanted.
func checkType(obj typed, want schema.GroupVersionKind, also ...schema.GroupVersion) error {
	got := obj.GetObjectKind().GroupVersionKind()
	if said := saidType(got, want); !registered(want) {
		// of a kind that is defined at run time
		if said.Kind != want.Kind {
			return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: converting (%s) to (%s): unknown conversion",
				said.Kind, said.Version, want.Kind, said, want))
		}
	} else if !registered(said) {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", said.Kind, said.Version, want.Kind, notRegistered(said)))
	} else if said.Kind != want.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: converting (%s.%s) to (%s.%s): unknown conversion",
			said.Kind, said.Version, want.Kind, said.Version, said.Kind, internalPackage(want.Group), want.Kind))
	}
	if gv := got.GroupVersion(); !gv.Empty() && gv != want.GroupVersion() && !slices.Contains(also, gv) {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", gv, want.GroupVersion()))
	}
	return nil
}

// saidType fills in what a body leaves out of its type.
func saidType(got, want schema.GroupVersionKind) schema.GroupVersionKind {
	if got.Kind == "" {
		got.Kind = want.Kind
	}
	if got.Version == "" {
		got.Group, got.Version = want.Group, want.Version
	}
	return got
}

func registered(gvk schema.GroupVersionKind) bool { return scheme.Scheme.Recognizes(gvk) }

func notRegistered(gvk schema.GroupVersionKind) error {
	return runtime.NewNotRegisteredErrForKind(scheme.Scheme.Name(), gvk)
}

// internalPackage is how kube-apiserver's own Go package of a group is called, by which its messages name types.
func internalPackage(group string) string {
	name, _, _ := strings.Cut(group, ".")
	return cmp.Or(name, "core")
}

func decodeProtobuf(data []byte, obj runtime.Object) error {
	if len(data) == 0 {
		return &garbled{errors.New("empty data")}
	}
	if !bytes.HasPrefix(data, protobufMagic) {
		return &garbled{fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", protobufMagic)}
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(data[len(protobufMagic):]); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot decode protobuf body: %v", err))
	}
	message, ok := obj.(interface{ Unmarshal([]byte) error })
	if !ok {
		return unsupportedMedia(typeJSON, typeYAML)
	}
	if nests(obj) && tooDeepProtobuf(unknown.Raw) {
		return bodyTooDeep()
	}
	if crowded(unknown.Raw, reflect.TypeOf(obj).Elem()) {
		return bodyTooLong(maxList)
	}
	if err := message.Unmarshal(unknown.Raw); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot decode protobuf body: %v", err))
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(unknown.APIVersion, unknown.Kind))
	return nil
}

// decodeYAML is decodeJSON of YAML.
func decodeYAML(r *request, data []byte, obj runtime.Object) ([]error, error) {
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, &garbled{err}
	}
	var twice []error
	if strictnessOf(r) != registry.Ignore {
		if _, err := yaml.YAMLToJSONStrict(data); err != nil {
			twice = append(twice, err)
		}
	}
	strict, err := decodeJSON(r, asJSON, obj)
	return append(twice, strict...), err
}

// listLimit is how many objects a list in an object may have. What has no Go type is decoded into maps, which take
// little more than they were sent as.
func listLimit(obj any) int {
	if _, custom := obj.(*kind.Custom); custom {
		return maxObjects
	}
	return maxList
}

// decodeJSON decodes into obj, and returns besides what strict decoding finds.
func decodeJSON(r *request, data []byte, obj runtime.Object) ([]error, error) {
	if err := checkJSON(data, listLimit(obj)); err != nil {
		return nil, err
	}
	if custom, ok := obj.(*kind.Custom); ok {
		strict, err := custom.Decode(data)
		if err != nil {
			return nil, undecodable(r, data, err)
		}
		unknown, err := registry.UnknownFields(r.kind, custom)
		return append(strict, unknown...), err
	}
	if strictnessOf(r) == registry.Ignore {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, obj); err != nil {
			return nil, undecodable(r, data, err)
		}
		return nil, nil
	}
	strict, err := kjson.UnmarshalStrict(data, obj)
	if err != nil {
		return nil, undecodable(r, data, err)
	}
	return strict, nil
}

// undecodable tells a body that is no JSON object from one with a field that can not be as it is.
func undecodable(r *request, data []byte, err error) error {
	if bad := typeless(data); bad != nil {
		return &garbled{bad}
	}
	return decodingError(r, err)
}

// typeless says why a body does not say what it is; nil when it does.
func typeless(data []byte) error {
	var said struct {
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
	}
	return nil
}

func decodingError(r *request, err error) error {
	what, version := r.wants.Kind, r.wants.Version
	if what == "" {
		what, version = r.kind.Kind, r.version
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", what, version, what, err))
}

// strictnessOf reads fieldValidation; the server's default is Warn.
func strictnessOf(r *request) registry.Strictness {
	switch r.query.Get("fieldValidation") {
	case "Ignore":
		return registry.Ignore
	case "Strict":
		return registry.Strict
	}
	return registry.Warn
}

// strictFound turns what strict decoding found into warnings or an error.
func (r *request) strictFound(found []error) error {
	if len(found) == 0 || strictnessOf(r) == registry.Ignore {
		return nil
	}
	if strictnessOf(r) == registry.Strict {
		return decodingError(r, runtime.NewStrictDecodingError(found))
	}
	for _, err := range found {
		r.warn(err.Error())
	}
	return nil
}

// maxWarnings bounds the headers that one answer grows by warnings.
const maxWarnings = 64

func (r *request) warn(text string) {
	if lines, ok := strings.CutPrefix(text, "yaml: unmarshal errors:\n"); ok {
		for line := range strings.SplitSeq(lines, "\n") {
			r.warn(strings.TrimSpace(line))
		}
		return
	}
	for _, had := range r.warnings {
		if had == text {
			return
		}
	}
	if len(r.warnings) < maxWarnings {
		r.warnings = append(r.warnings, text)
	}
}
