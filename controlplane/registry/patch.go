package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// What a JSON patch may have, as kube-apiserver has it: operations, and bytes that its copies add up to.
const (
	maxJSONPatchOps  = 10000
	maxJSONPatchCopy = 3 << 20
)

// A few copies of copies would fill the memory. The library's limit is one for the process.
func init() { jsonpatch.AccumulatedCopySizeLimit = maxJSONPatchCopy }

// Patch changes an object, or its status, by one of the four patches. It says whether the object was created,
// which only an apply does.
func (r *Registry) Patch(ctx context.Context, k *kind.Kind, namespace, name string, t types.PatchType, data []byte, subresource string, w Write) (*store.Item, bool, error) {
	if t == types.ApplyPatchType {
		return r.apply(ctx, k, namespace, name, data, subresource, w)
	}
	res, err := r.change(ctx, k, namespace, name, subresource, w, func(cur kind.Object) (kind.Object, error) {
		patched, err := patchObject(t, data, withType(k, cur), func() runtime.Object { return k.New() }, w)
		if err != nil {
			return nil, err
		}
		obj := patched.(kind.Object)
		if t == types.StrategicMergePatchType { // kube-apiserver takes what such a patch says of the kind for nothing
			obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
		}
		if err := prune(k, obj, w); err != nil {
			return nil, err
		}
		if err := samePatched(k, cur, obj); err != nil {
			return nil, err
		}
		return obj, nil
	})
	return res.item, res.created, err
}

// samePatched refuses a patch that makes another object of it, or that names another version.
func samePatched(k *kind.Kind, cur, obj kind.Object) error {
	if v := obj.GetResourceVersion(); v != "" && v != cur.GetResourceVersion() {
		return apierrors.NewConflict(k.GroupResource(), cur.GetName(), errors.New(modifiedMessage))
	}
	if gvk := obj.GetObjectKind().GroupVersionKind(); gvk != k.GroupVersionKind && gvk != (schema.GroupVersionKind{}) {
		return unprocessable(fmt.Sprintf("%T", obj), fmt.Errorf("the API version or kind in the data (%s) does not match the expected one (%s)", gvk, k.GroupVersionKind))
	}
	if obj.GetName() != cur.GetName() {
		return OtherName(obj.GetName(), cur.GetName())
	}
	if obj.GetNamespace() != cur.GetNamespace() && obj.GetNamespace() != "" {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	obj.SetNamespace(cur.GetNamespace())
	return nil
}

// OtherName is the answer to an object that has another name than its path, or none.
func OtherName(name, want string) error {
	if name == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", want))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, want))
}

// patchObject applies a JSON, merge or strategic merge patch to cur, which has its TypeMeta and is not
// changed, and decodes the result into an empty object.
func patchObject(t types.PatchType, data []byte, cur runtime.Object, empty func() runtime.Object, w Write) (runtime.Object, error) {
	if t == types.StrategicMergePatchType {
		return strategicPatch(data, cur, empty(), w)
	}
	original, err := json.Marshal(cur)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var patched []byte
	switch t {
	case types.JSONPatchType:
		patched, err = jsonPatch(original, data, w)
	case types.MergePatchType:
		patched, err = mergePatch(original, data, w)
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unknown patch type %q", t))
	}
	if err != nil {
		return nil, err
	}
	return decodePatched(patched, empty(), w)
}

// jsonPatchOp has the fields that an operation of a JSON patch may have.
type jsonPatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func jsonPatch(original, data []byte, w Write) ([]byte, error) {
	if w.Strict != Ignore {
		var ops []jsonPatchOp
		strict, err := kjson.UnmarshalStrict(data, &ops)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		for i, e := range strict {
			strict[i] = fmt.Errorf("json patch %w", e)
		}
		if err := strictness(strict, w); err != nil {
			return nil, err
		}
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if len(patch) > maxJSONPatchOps {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxJSONPatchOps, len(patch)))
	}
	patched, err := patch.Apply(original)
	if err != nil {
		return nil, apierrors.NewGenericServerResponse(422, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return patched, nil
}

func mergePatch(original, data []byte, w Write) ([]byte, error) {
	if w.Strict != Ignore {
		var v map[string]any
		strict, err := kjson.UnmarshalStrict(data, &v)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		if err := strictness(strict, w); err != nil {
			return nil, err
		}
	}
	patched, err := jsonpatch.MergePatch(original, data)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return patched, nil
}

func decodePatched(patched []byte, into runtime.Object, w Write) (runtime.Object, error) {
	var strict []error
	var err error
	if custom, ok := into.(*kind.Custom); ok {
		strict, err = custom.Decode(patched)
	} else {
		strict, err = kjson.UnmarshalStrict(patched, into)
	}
	if err != nil {
		return nil, unprocessable(fmt.Sprintf("%T", into), err)
	}
	if err := refused(strict, w); err != nil {
		return nil, unprocessable(fmt.Sprintf("%T", into), err)
	}
	return into, nil
}

// unprocessable is the answer to a patch that can be read, and whose result can not.
func unprocessable(patch any, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), patch, err.Error())})
}

// strategicPatch works on maps, so that the object is not encoded and decoded on the way.
func strategicPatch(data []byte, cur, into runtime.Object, w Write) (runtime.Object, error) {
	var patch map[string]any
	strict, err := kjson.UnmarshalStrict(data, &patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := strictness(strict, w); err != nil {
		return nil, err
	}
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(cur)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, into)
	if err != nil {
		if errors.Is(err, mergepatch.ErrBadJSONDoc) || errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList) ||
			errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys) || errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList) {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return nil, unprocessable(fmt.Sprintf("%+v", patch), err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, into, w.Strict != Ignore)
	if strictErr, ok := runtime.AsStrictDecodingError(err); ok {
		err = refused(strictErr.Errors(), w)
	}
	if err != nil {
		return nil, unprocessable(fmt.Sprintf("%+v", patch), err)
	}
	return into, nil
}

// prune drops the fields of a decoded object that its schema does not know, and tells of them.
func prune(k *kind.Kind, obj kind.Object, w Write) error {
	unknown, err := UnknownFields(k, obj)
	if err != nil {
		return err
	}
	return strictness(unknown, w)
}

// UnknownFields drops the fields of a decoded object that its schema does not know, and returns an error for each.
func UnknownFields(k *kind.Kind, obj kind.Object) ([]error, error) {
	if k.Prune == nil {
		return nil, nil
	}
	paths, err := k.Prune(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var found []error
	for _, path := range paths {
		found = append(found, fmt.Errorf("unknown field %q", path))
	}
	return found, nil
}

// strictness turns what strict decoding of a body found into warnings or a refusal, as fieldValidation asks.
func strictness(found []error, w Write) error {
	if err := refused(found, w); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// refused is strictness with an error that is no answer yet.
func refused(found []error, w Write) error {
	if len(found) == 0 || w.Strict == Ignore {
		return nil
	}
	if w.Strict == Strict {
		return runtime.NewStrictDecodingError(found)
	}
	for _, e := range found {
		w.warn(e.Error())
	}
	return nil
}

// apply is a server-side apply.
func (r *Registry) apply(ctx context.Context, k *kind.Kind, namespace, name string, data []byte, subresource string, w Write) (*store.Item, bool, error) {
	w.applied = true
	for {
		patch, err := decodeApplied(k, namespace, name, data, w)
		if err != nil {
			return nil, false, err
		}
		res, err := r.change(ctx, k, namespace, name, subresource, w, func(cur kind.Object) (kind.Object, error) {
			if v := patch.GetResourceVersion(); v != "" && v != cur.GetResourceVersion() {
				return nil, apierrors.NewConflict(k.GroupResource(), name, errors.New(modifiedMessage))
			}
			return r.managed.apply(k, cur, patch.DeepCopy(), subresource, w.FieldManager, w.Force)
		})
		if !apierrors.IsNotFound(err) || subresource != "" {
			return res.item, false, err
		}
		if patch.GetUID() != "" {
			return nil, false, apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", patch.GetUID()))
		}
		item, err := r.createApplied(ctx, k, namespace, name, patch, w)
		if !apierrors.IsAlreadyExists(err) {
			return item, err == nil, err
		}
	}
}

// createApplied creates the object of an apply that found none.
func (r *Registry) createApplied(ctx context.Context, k *kind.Kind, namespace, name string, patch *unstructured.Unstructured, w Write) (*store.Item, error) {
	if patch.GetName() == "" {
		return nil, OtherName("", name)
	}
	obj, err := r.managed.apply(k, k.New(), patch, "", w.FieldManager, w.Force)
	if err != nil {
		return nil, err
	}
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetResourceVersion("")
	return r.Create(ctx, k, obj, w)
}

// decodeApplied decodes an applied configuration and checks that it names this object and known fields.
func decodeApplied(k *kind.Kind, namespace, name string, data []byte, w Write) (*unstructured.Unstructured, error) {
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: error converting YAML to JSON: %v", err))
	}
	if w.Strict != Ignore && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		if _, err := yaml.YAMLToJSONStrict(data); err != nil {
			if err := strictness([]error{err}, w); err != nil {
				return nil, err
			}
		}
	}
	content := map[string]any{}
	strict, err := kjson.UnmarshalStrict(asJSON, &content)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: error unmarshaling JSON: while decoding JSON: %v", err))
	}
	if err := strictness(strict, w); err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	if err := checkApplied(k, namespace, name, u); err != nil {
		return nil, err
	}
	return u, nil
}

func checkApplied(k *kind.Kind, namespace, name string, u *unstructured.Unstructured) error {
	if gvk := u.GroupVersionKind(); gvk != k.GroupVersionKind {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid object type: %v", gvk))
	}
	if u.GetName() != name && u.GetName() != "" {
		return OtherName(u.GetName(), name)
	}
	if k.Namespaced && u.GetNamespace() == "" {
		u.SetNamespace(namespace)
	}
	if u.GetNamespace() != namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("the namespace of the object (%s) does not match the namespace on the URL (%s)", u.GetNamespace(), namespace))
	}
	if _, found, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "managedFields"); found {
		if u.GetManagedFields() != nil {
			return apierrors.NewBadRequest("metadata.managedFields must be nil")
		}
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	}
	return nil
}
