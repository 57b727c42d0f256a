package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	if len(bytes.TrimSpace(data)) == 0 {
		return apierrors.NewBadRequest("the request's body is empty")
	}
	switch enc {
	case asProtobuf:
		err = decodeProtobuf(data, obj)
	case asYAML:
		err = decodeYAML(r, data, obj)
	default:
		err = decodeJSON(r, data, obj)
	}
	if err != nil {
		return err
	}
	return checkType(obj, gvk, also...)
}

// checkType refuses a body that says it is something else. Also are further versions that read like the one that is wanted.
func checkType(obj typed, want schema.GroupVersionKind, also ...schema.GroupVersion) error {
	if t, ok := obj.GetObjectKind().(*metav1.TypeMeta); ok {
		if _, err := schema.ParseGroupVersion(t.APIVersion); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v", want.Kind, err))
		}
	}
	got := obj.GetObjectKind().GroupVersionKind()
	if got.Kind != "" && got.Kind != want.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: converting (%s) to (%s): unknown conversion",
			got.Kind, got.Version, want.Kind, got, want))
	}
	if gv := got.GroupVersion(); !gv.Empty() && gv != want.GroupVersion() && !slices.Contains(also, gv) {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", gv, want.GroupVersion()))
	}
	return nil
}

func decodeProtobuf(data []byte, obj runtime.Object) error {
	if !bytes.HasPrefix(data, protobufMagic) {
		return apierrors.NewBadRequest("provided data does not appear to be a protobuf message, expected prefix \"k8s\\x00\"")
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

func decodeYAML(r *request, data []byte, obj runtime.Object) error {
	if strictnessOf(r) != registry.Ignore {
		if asJSON, err := yaml.YAMLToJSONStrict(data); err == nil {
			return decodeJSON(r, asJSON, obj)
		} else if found := r.strictFound([]error{err}); found != nil {
			return found
		}
	}
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	return decodeJSON(r, asJSON, obj)
}

// listLimit is how many objects a list in an object may have. What has no Go type is decoded into maps, which take
// little more than they were sent as.
func listLimit(obj any) int {
	if _, custom := obj.(*kind.Custom); custom {
		return maxObjects
	}
	return maxList
}

func decodeJSON(r *request, data []byte, obj runtime.Object) error {
	if err := checkJSON(data, listLimit(obj)); err != nil {
		return err
	}
	if custom, ok := obj.(*kind.Custom); ok {
		strict, err := custom.Decode(data)
		if err != nil {
			return decodingError(r, err)
		}
		unknown, err := registry.UnknownFields(r.kind, custom)
		if err != nil {
			return err
		}
		return r.strictFound(append(strict, unknown...))
	}
	if strictnessOf(r) == registry.Ignore {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, obj); err != nil {
			return decodingError(r, err)
		}
		return nil
	}
	strict, err := kjson.UnmarshalStrict(data, obj)
	if err != nil {
		return decodingError(r, err)
	}
	return r.strictFound(strict)
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
	for _, had := range r.warnings {
		if had == text {
			return
		}
	}
	if len(r.warnings) < maxWarnings {
		r.warnings = append(r.warnings, text)
	}
}
