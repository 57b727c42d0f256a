package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// object serves the verbs of a kind itself and of its status.
func (s *Server) object(w http.ResponseWriter, r *request) error {
	if err := r.checkScope(); err != nil {
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
		return s.deleteCollection(w, r)
	}
	return errMethod(r)
}

// checkScope refuses paths that the kind's scope does not have.
func (r *request) checkScope() error {
	if !r.kind.Namespaced && r.namespace != "" && r.plural != "namespaces" {
		return errPathNotFound(r)
	}
	if r.kind.Namespaced && r.namespace == "" && (r.name != "" || r.verb == "create" || r.verb == "deletecollection") {
		if r.name != "" {
			return errPathNotFound(r)
		}
		return errMethod(r)
	}
	if r.verb == "create" && r.name != "" || (r.verb == "update" || r.verb == "patch") && r.name == "" {
		return errMethod(r)
	}
	return nil
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

// listQuery reads the parameters of list, watch and deletecollection.
func (r *request) listQuery() (registry.ListQuery, error) {
	q := registry.ListQuery{Namespace: r.objectNamespace()}
	if len(r.query) == 0 {
		return q, nil
	}
	var err error
	if text := r.query.Get("labelSelector"); text != "" {
		if q.Labels, err = labels.Parse(text); err != nil {
			return q, apierrors.NewBadRequest(fmt.Sprintf("unable to parse requirement: %v", err))
		}
	}
	if text := r.query.Get("fieldSelector"); text != "" {
		if q.Fields, err = fields.ParseSelector(text); err != nil {
			return q, apierrors.NewBadRequest(fmt.Sprintf("invalid field selector %q: %v", text, err))
		}
	}
	q.ResourceVersion = r.query.Get("resourceVersion")
	q.ResourceVersionMatch = r.query.Get("resourceVersionMatch")
	q.Continue = r.query.Get("continue")
	if q.Limit, err = r.number("limit"); err != nil {
		return q, err
	}
	return q, checkVersionMatch(q, r.verb == "watch", truth(r.query, "sendInitialEvents"))
}

func (r *request) number(name string) (int64, error) {
	text := r.query.Get(name)
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid %s %q: %v", name, text, err))
	}
	return v, nil
}

var listOptionsKind = schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}

// checkVersionMatch holds the rules of resourceVersionMatch, KEP-2523.
func checkVersionMatch(q registry.ListQuery, watch, initial bool) error {
	path := field.NewPath("resourceVersionMatch")
	var errs field.ErrorList
	m := q.ResourceVersionMatch
	if q.Limit < 0 {
		errs = append(errs, field.Invalid(field.NewPath("limit"), q.Limit, "must be positive"))
	}
	switch {
	case m == "":
	case watch && !initial:
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
	case watch && m != "NotOlderThan":
		errs = append(errs, field.NotSupported(path, m, []string{"NotOlderThan"}))
	case watch:
	case m != "Exact" && m != "NotOlderThan":
		errs = append(errs, field.NotSupported(path, m, []string{"Exact", "NotOlderThan", ""}))
	case q.Continue != "":
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
	case q.ResourceVersion == "":
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
	case m == "Exact" && q.ResourceVersion == "0":
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\""))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(listOptionsKind, "", errs)
	}
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
	dry, err := dryRun(r.query["dryRun"])
	if err != nil {
		return o, err
	}
	o.DryRun, r.dry = dry, dry
	o.Force = truth(r.query, "force")
	if v := r.query.Get("fieldValidation"); v != "" && v != "Ignore" && v != "Warn" && v != "Strict" {
		return o, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "CreateOptions"}, "",
			field.ErrorList{field.NotSupported(field.NewPath("fieldValidation"), v, []string{"", "Ignore", "Strict", "Warn"})})
	}
	return o, nil
}

func dryRun(values []string) (bool, error) {
	for _, v := range values {
		if v != metav1.DryRunAll {
			return false, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "CreateOptions"}, "",
				field.ErrorList{field.NotSupported(field.NewPath("dryRun"), v, []string{metav1.DryRunAll})})
		}
	}
	return len(values) > 0, nil
}

// maxManager is how long a field manager's name may be.
const maxManager = 128

// managerOf is the fieldManager parameter, or the client's program by its User-Agent.
func managerOf(r *request) string {
	if r.query != nil {
		if m := r.query.Get("fieldManager"); m != "" {
			return m
		}
	}
	name, _, _ := strings.Cut(r.Header.Get("User-Agent"), "/")
	if len(name) > maxManager {
		name = name[:maxManager]
	}
	return name
}

func checkManager(name string) error {
	path := field.NewPath("fieldManager")
	var errs field.ErrorList
	if len(name) > maxManager {
		errs = append(errs, field.TooLong(path, name, maxManager))
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f {
			errs = append(errs, field.Invalid(path, name, "should only contain printable characters"))
			break
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "PatchOptions"}, "", errs)
	}
	return nil
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
	if r.name != "" {
		if obj.GetName() == "" {
			obj.SetName(r.name)
		} else if obj.GetName() != r.name {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.name))
		}
	}
	r.audit.request(obj)
	return obj, nil
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
	if err != nil || !ok {
		return "", nil, o, unsupportedMedia(string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType))
	}
	if t == types.ApplyPatchType {
		o.FieldManager = r.query.Get("fieldManager")
	} else if o.Force {
		return "", nil, o, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "PatchOptions"}, "",
			field.ErrorList{field.Forbidden(field.NewPath("force"), "may not be specified for non-apply patch")})
	}
	if err := checkManager(o.FieldManager); err != nil {
		return "", nil, o, err
	}
	data, err := readBody(r)
	if err == nil && tooDeep(data) {
		err = apierrors.NewBadRequest(fmt.Sprintf("the patch nests deeper than %d", maxDepth))
	}
	r.audit.requestRaw(t, data)
	return t, data, o, err
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

// deleteOptions reads the options of a delete from body and parameters.
func (r *request) deleteOptions() (*metav1.DeleteOptions, error) {
	opts := &metav1.DeleteOptions{}
	data, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		if err := r.decodeDeleteOptions(data, opts); err != nil {
			return nil, err
		}
	} else if err := r.deleteParams(opts); err != nil {
		return nil, err
	}
	return opts, checkDeleteOptions(opts)
}

func (r *request) decodeDeleteOptions(data []byte, opts *metav1.DeleteOptions) error {
	enc, err := bodyEncoding(r)
	if err != nil {
		return err
	}
	switch enc {
	case asProtobuf:
		return decodeProtobuf(data, opts)
	case asYAML:
		return decodeYAML(r, data, opts)
	}
	if err := json.Unmarshal(data, opts); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot decode DeleteOptions: %v", err))
	}
	if opts.Kind != "" && opts.Kind != "DeleteOptions" {
		return apierrors.NewBadRequest(fmt.Sprintf("decoded object cannot be converted to DeleteOptions: %s", opts.Kind))
	}
	return nil
}

func (r *request) deleteParams(opts *metav1.DeleteOptions) error {
	if r.query.Has("gracePeriodSeconds") {
		v, err := r.number("gracePeriodSeconds")
		if err != nil {
			return err
		}
		opts.GracePeriodSeconds = &v
	}
	if v := r.query.Get("propagationPolicy"); v != "" {
		policy := metav1.DeletionPropagation(v)
		opts.PropagationPolicy = &policy
	}
	if r.query.Has("orphanDependents") {
		v := truth(r.query, "orphanDependents")
		opts.OrphanDependents = &v
	}
	opts.DryRun = r.query["dryRun"]
	return nil
}

func checkDeleteOptions(opts *metav1.DeleteOptions) error {
	var errs field.ErrorList
	if opts.PropagationPolicy != nil {
		switch *opts.PropagationPolicy {
		case metav1.DeletePropagationForeground, metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan:
		default:
			errs = append(errs, field.NotSupported(field.NewPath("propagationPolicy"), *opts.PropagationPolicy,
				[]string{"Background", "Foreground", "Orphan"}))
		}
		if opts.OrphanDependents != nil {
			errs = append(errs, field.Invalid(field.NewPath("propagationPolicy"), *opts.PropagationPolicy, "orphanDependents and deletionPropagation cannot be both set"))
		}
	}
	if _, err := dryRun(opts.DryRun); err != nil {
		return err
	}
	if opts.GracePeriodSeconds != nil && *opts.GracePeriodSeconds < 0 {
		one := int64(1)
		opts.GracePeriodSeconds = &one
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "DeleteOptions"}, "", errs)
	}
	return nil
}

func (s *Server) delete(w http.ResponseWriter, r *request) error {
	opts, err := r.deleteOptions()
	if err != nil {
		return err
	}
	o, err := r.write()
	if err != nil {
		return err
	}
	r.dry = r.dry || len(opts.DryRun) > 0
	item, gone, err := s.registry.Delete(r.Context(), r.kind, r.objectNamespace(), r.name, opts, o)
	if err != nil {
		return err
	}
	if !gone || returnsDeleted[r.groupResource()] {
		s.writeItem(w, r, http.StatusOK, r.kind, item)
		return nil
	}
	s.answer(w, r, http.StatusOK, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: item.Object.GetName(), Group: r.group, Kind: r.plural, UID: item.Object.GetUID()},
	})
	return nil
}

// returnsDeleted are the resources whose delete answers with the object that went, as kube-apiserver has it.
var returnsDeleted = map[schema.GroupResource]bool{
	{Resource: "pods"}:                                    true,
	{Resource: "services"}:                                true,
	{Resource: "serviceaccounts"}:                         true,
	{Resource: "persistentvolumes"}:                       true,
	{Resource: "persistentvolumeclaims"}:                  true,
	{Resource: "podtemplates"}:                            true,
	{Resource: "resourcequotas"}:                          true,
	{Group: "storage.k8s.io", Resource: "storageclasses"}: true,
}

func (s *Server) deleteCollection(w http.ResponseWriter, r *request) error {
	q, err := r.listQuery()
	if err != nil {
		return err
	}
	opts, err := r.deleteOptions()
	if err != nil {
		return err
	}
	o, err := r.write()
	if err != nil {
		return err
	}
	list, err := s.registry.DeleteCollection(r.Context(), r.kind, q, opts, o)
	if err != nil {
		return err
	}
	s.writeList(w, r, r.kind, list)
	return nil
}
