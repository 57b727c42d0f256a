package api

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// object serves the verbs of a kind itself and of its status.
func (s *Server) object(w http.ResponseWriter, r *request) error {
	if err := r.checkScope(); err != nil {
		return err
	}
	// what can not be answered must not be done first
	if _, err := negotiate(r, r.objectOffers()); err != nil {
		return err
	}
	switch r.verb {
	case "get":
		return s.get(w, r)
	case "list":
		return s.list(w, r)
	case "watch":
		return s.watch(w, r)
	case "create":
		return s.create(w, r)
	case "update":
		return s.update(w, r)
	case "patch":
		return s.patch(w, r)
	case "delete":
		return s.delete(w, r)
	case "deletecollection":
		if r.plural == "namespaces" && r.group == "" { // Kubernetes deletes them one by one only
			return errMethod(r)
		}
		return s.deleteCollection(w, r)
	}
	return errMethod(r)
}

// checkScope refuses paths that the kind's scope does not have.
func (r *request) checkScope() error {
	if !r.kind.Namespaced && r.namespace != "" && r.plural != "namespaces" {
		return r.nothing()
	}
	if r.kind.Namespaced && r.namespace == "" && (r.name != "" || r.verb == "create" || r.verb == "deletecollection") {
		if r.name != "" {
			return r.nothing()
		}
		return errMethod(r)
	}
	if r.verb == "create" && r.name != "" || (r.verb == "update" || r.verb == "patch") && r.name == "" {
		return errMethod(r)
	}
	return nil
}

// objectOffers says which alternatives the verb can answer with.
func (r *request) objectOffers() offers {
	o := offers{tables: true, partial: true, custom: r.kind.Custom}
	switch r.verb {
	case "list", "deletecollection":
		o.partial, o.partialList = false, true
	case "watch":
		o.stream = true
	}
	return o
}

// objectNamespace is the namespace of the object itself: namespaces are named in their path twice.
func (r *request) objectNamespace() string {
	if !r.kind.Namespaced {
		return ""
	}
	return r.namespace
}

func (s *Server) get(w http.ResponseWriter, r *request) error {
	item, err := s.registry.Get(r.Context(), r.kind, r.objectNamespace(), r.name, r.query.Get("resourceVersion"))
	if err != nil {
		return err
	}
	s.writeItem(w, r, http.StatusOK, r.kind, item)
	return nil
}

func (s *Server) list(w http.ResponseWriter, r *request) error {
	q, err := r.listQuery()
	if err != nil {
		return err
	}
	list, err := s.registry.List(r.Context(), r.kind, q)
	if err != nil {
		return err
	}
	s.writeList(w, r, r.kind, list)
	return nil
}

// write reads the parameters that all writes share.
func (r *request) write() (registry.Write, error) {
	o := registry.Write{FieldManager: managerOf(r), Strict: strictnessOf(r), Warn: r.warn}
	if len(r.query) == 0 {
		return o, nil
	}
	o.DryRun = len(r.query["dryRun"]) > 0
	o.Force = truth(r.query, "force")
	return o, r.checkOptions()
}

// checkOptions validates the options of a create or update. Those of a patch depend on its type, and a delete may have its
// options in its body.
func (r *request) checkOptions() error {
	dry, manager, validation := r.query["dryRun"], r.query.Get("fieldManager"), r.query.Get("fieldValidation")
	switch r.verb {
	case "patch", "delete", "deletecollection":
		return nil
	case "update":
		return invalidOptions("UpdateOptions", metav1validation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: dry, FieldManager: manager, FieldValidation: validation}))
	}
	return invalidOptions("CreateOptions", metav1validation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: dry, FieldManager: manager, FieldValidation: validation}))
}

func (r *request) checkPatchOptions(t types.PatchType) error {
	o := &metav1.PatchOptions{DryRun: r.query["dryRun"], FieldManager: r.query.Get("fieldManager"), FieldValidation: r.query.Get("fieldValidation")}
	if r.query.Has("force") {
		o.Force = new(truth(r.query, "force"))
	}
	return invalidOptions("PatchOptions", metav1validation.ValidatePatchOptions(o, t))
}

func invalidOptions(of string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: of}, "", errs)
}

// managerOf is the fieldManager parameter, or the client's program by its User-Agent.
func managerOf(r *request) string {
	if r.query != nil {
		if m := r.query.Get("fieldManager"); m != "" {
			return m
		}
	}
	name, _, _ := strings.Cut(r.Header.Get("User-Agent"), "/")
	if len(name) > metav1validation.FieldManagerMaxLength {
		name = name[:metav1validation.FieldManagerMaxLength]
	}
	return name
}

// decodeObject reads the object of a create or update and holds it against the path.
func (r *request) decodeObject() (kind.Object, error) {
	data, err := readBody(r)
	if err != nil {
		return nil, err
	}
	obj := r.kind.New()
	if err := decodeInto(r, data, obj, r.kind.GroupVersionKind); err != nil {
		return nil, err
	}
	ns := r.objectNamespace()
	if obj.GetNamespace() == "" {
		obj.SetNamespace(ns)
	} else if obj.GetNamespace() != ns {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if r.name != "" && obj.GetName() != r.name {
		return nil, registry.OtherName(obj.GetName(), r.name)
	}
	r.audit.request(obj)
	return obj, checkRaw(r.kind, obj)
}

// checkRaw looks early at what protobuf carries as bytes that JSON would have parsed: the steps before validation
// take it for JSON.
func checkRaw(k *kind.Kind, obj kind.Object) error {
	r, ok := obj.(*appsv1.ControllerRevision)
	if !ok || r.Data.Raw == nil || json.Valid(r.Data.Raw) {
		return nil
	}
	return apierrors.NewInvalid(k.GroupKind(), obj.GetName(), field.ErrorList{field.Invalid(field.NewPath("data"), "<value omitted>", "error parsing data: it is not JSON")})
}

func (s *Server) create(w http.ResponseWriter, r *request) error {
	o, err := r.write()
	if err != nil {
		return err
	}
	obj, err := r.decodeObject()
	if err != nil {
		return err
	}
	o.Check = s.escalation(r)
	item, err := s.registry.Create(r.Context(), r.kind, obj, o)
	if err != nil {
		return err
	}
	s.writeItem(w, r, http.StatusCreated, r.kind, item)
	return nil
}

func (s *Server) update(w http.ResponseWriter, r *request) error {
	o, err := r.write()
	if err != nil {
		return err
	}
	o.CreateMissing = true
	obj, err := r.decodeObject()
	if err != nil {
		return err
	}
	o.Check = s.escalation(r)
	item, created, err := s.registry.Update(r.Context(), r.kind, obj, r.subresource, o)
	if err != nil {
		return err
	}
	s.writeItem(w, r, createdOr(created), r.kind, item)
	return nil
}

func createdOr(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// patchTypes are the content types of patches; strategic merge is the default of none.
var patchTypes = map[string]types.PatchType{
	string(types.JSONPatchType):           types.JSONPatchType,
	string(types.MergePatchType):          types.MergePatchType,
	string(types.StrategicMergePatchType): types.StrategicMergePatchType,
	string(types.ApplyYAMLPatchType):      types.ApplyPatchType,
}

// readPatch reads a patch and its options.
func (r *request) readPatch() (types.PatchType, []byte, registry.Write, error) {
	o, err := r.write()
	if err != nil {
		return "", nil, o, err
	}
	name, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	t, ok := patchTypes[name]
	if r.kind.Custom && t == types.StrategicMergePatchType {
		return "", nil, o, unsupportedMedia(string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType))
	}
	if err != nil || !ok {
		if r.kind.Custom {
			return "", nil, o, unsupportedMedia(string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType))
		}
		return "", nil, o, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: "415: Unsupported Media Type", Details: &metav1.StatusDetails{},
		}}
	}
	if err := r.checkPatchOptions(t); err != nil {
		return "", nil, o, err
	}
	if t == types.ApplyPatchType {
		o.FieldManager = r.query.Get("fieldManager")
	}
	data, err := readBody(r)
	if err == nil {
		err = checkPatch(data, r.kind.New(), t == types.ApplyPatchType)
	}
	r.audit.requestRaw(t, data)
	return t, data, o, err
}

// checkPatch looks at the brackets of a patch, and at what becomes of one that is YAML. One that is no JSON is refused before
// anything is looked up.
func checkPatch(data []byte, obj any, isYAML bool) error {
	if err := checkJSON(data, listLimit(obj)); err != nil {
		return err
	}
	if !isYAML && !json.Valid(data) {
		return apierrors.NewBadRequest("invalid JSON patch")
	}
	if !isYAML || bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return nil
	}
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil //nolint:nilerr // the registry says it better
	}
	return checkJSON(asJSON, listLimit(obj))
}

func (s *Server) patch(w http.ResponseWriter, r *request) error {
	t, data, o, err := r.readPatch()
	if err != nil {
		return err
	}
	o.Check = s.escalation(r)
	item, created, err := s.registry.Patch(r.Context(), r.kind, r.objectNamespace(), r.name, t, data, r.subresource, o)
	if err != nil {
		return err
	}
	s.writeItem(w, r, createdOr(created), r.kind, item)
	return nil
}
