package registry

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// fieldManagers keep metadata.managedFields. The merge schema is that of client-go's apply configurations; it
// is parsed once, when the first object is written.
type fieldManagers struct {
	kinds  *kind.Table
	scheme *runtime.Scheme
	schema func() *smdschema.Schema

	mu       sync.Mutex
	managers map[managerKey]*managedfields.FieldManager
	empty    sync.Map // *kind.Kind -> *typed.TypedValue of an empty object
	types    sync.Map // schema.GroupVersionKind -> typed.ParseableType
}

type managerKey struct {
	kind        *kind.Kind
	subresource string
}

func newFieldManagers(kinds *kind.Table) *fieldManagers {
	m := &fieldManagers{kinds: kinds, scheme: runtime.NewScheme(), managers: map[managerKey]*managedfields.FieldManager{}}
	for _, k := range kinds.Served() {
		m.scheme.AddKnownTypeWithName(k.GroupVersionKind, k.New())
	}
	m.schema = sync.OnceValue(m.loadSchema)
	return m
}

// loadSchema asks client-go's converter for any typed object, since that is the only way to its schema.
func (m *fieldManagers) loadSchema() *smdschema.Schema {
	converter := applyconfigurations.NewTypeConverter(m.scheme)
	for _, k := range m.kinds.Kinds() {
		obj := k.New()
		obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
		if tv, err := converter.ObjectToTyped(obj); err == nil {
			return tv.Schema()
		}
	}
	panic("no kind of the table is in client-go's schema")
}

// typeOf returns the merge type of a kind.
func (m *fieldManagers) typeOf(gvk schema.GroupVersionKind) (typed.ParseableType, error) {
	if k := m.kinds.ByKind(gvk); k != nil && k.Merge != nil {
		return k.Merge()
	}
	if t, ok := m.types.Load(gvk); ok {
		return t.(typed.ParseableType), nil
	}
	name, err := m.scheme.ToOpenAPIDefinitionName(gvk)
	if err != nil {
		return typed.ParseableType{}, err
	}
	t := typed.ParseableType{Schema: m.schema(), TypeRef: smdschema.TypeRef{NamedType: &name}}
	if !t.IsValid() {
		return typed.ParseableType{}, fmt.Errorf("cannot find the merge schema of %s", gvk)
	}
	m.types.Store(gvk, t)
	return t, nil
}

// ObjectToTyped implements managedfields.TypeConverter.
func (m *fieldManagers) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	t, err := m.typeOf(obj.GetObjectKind().GroupVersionKind())
	if err != nil {
		return nil, err
	}
	return typedValue(t, obj, opts...)
}

func typedValue(t typed.ParseableType, obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		return t.FromUnstructured(o.Object, opts...)
	case *kind.Custom:
		m, err := o.Map()
		if err != nil {
			return nil, err
		}
		return t.FromUnstructured(m, opts...)
	}
	return t.FromStructured(obj, opts...)
}

// TypedToObject implements managedfields.TypeConverter.
func (m *fieldManagers) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	content, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("cannot convert a merged %T to an object", v.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// strippedPaths are never owned: what names the object, and what only the server writes.
var strippedPaths = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"),
	fieldpath.MakePathOrDie("kind"),
	fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"),
	fieldpath.MakePathOrDie("metadata", "namespace"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"),
	fieldpath.MakePathOrDie("metadata", "selfLink"),
	fieldpath.MakePathOrDie("metadata", "uid"),
	fieldpath.MakePathOrDie("metadata", "generation"),
	fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
	fieldpath.MakePathOrDie("metadata", "deletionTimestamp"),
	fieldpath.MakePathOrDie("metadata", "deletionGracePeriodSeconds"),
)

// statusPath is what a write of an object can not own where its status is a subresource.
var statusPath = fieldpath.NewSet(fieldpath.MakePathOrDie("status"))

func managerName(name string) string {
	if name == "" {
		return "unknown"
	}
	return name
}

// create sets the managedFields of a new object: one entry that owns all there is. It is the path of every
// create and does by one walk what the general manager does by comparing with nothing.
func (m *fieldManagers) create(k *kind.Kind, obj kind.Object, manager string, now time.Time) error {
	obj.SetManagedFields(nil)
	set, err := m.added(k, obj)
	if err != nil {
		return nil //nolint:nilerr // it is not of its schema's form: nobody owns its fields, and validation says what is wrong with it, if anything is
	}
	set = set.Difference(strippedPaths)
	set = set.RecursiveDifference(unowned(k))
	return setOnlyManager(obj, set, k.GroupVersion(), "", manager, now)
}

// Own sets the managedFields of what is created and not stored: one entry that owns all that is asked. The types know obj's.
func Own(types managedfields.TypeConverter, obj kind.Object, subresource, manager string, now time.Time) error {
	obj.SetManagedFields(nil)
	empty := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(kind.Object)
	empty.GetObjectKind().SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
	none, err := types.ObjectToTyped(empty)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	all, err := types.ObjectToTyped(obj)
	if err != nil {
		return nil //nolint:nilerr // as of an object that is created
	}
	diff, err := none.Compare(all)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return setOnlyManager(obj, diff.Added.Union(diff.Modified).Difference(strippedPaths), obj.GetObjectKind().GroupVersionKind().GroupVersion(), subresource, manager, now)
}

func setOnlyManager(obj kind.Object, set *fieldpath.Set, gv schema.GroupVersion, subresource, manager string, now time.Time) error {
	if set.Empty() {
		return nil
	}
	raw, err := set.ToJSON()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot encode managed fields: %w", err))
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	obj.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: managerName(manager), Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: gv.String(), Subresource: subresource,
		Time: &at, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw)),
	}})
	return nil
}

// unowned is what a write of a whole object does not own.
func unowned(k *kind.Kind) *fieldpath.Set {
	set := fieldpath.NewSet()
	if k.Status != nil {
		set = statusPath
	}
	if k.Unowned != nil {
		set = set.Union(k.Unowned)
	}
	return set
}

// added returns all fields that obj has beyond an empty object of its kind.
func (m *fieldManagers) added(k *kind.Kind, obj kind.Object) (*fieldpath.Set, error) {
	t, err := m.typeOf(k.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	made, err := m.fields(k, t, obj)
	if err != nil {
		return nil, err
	}
	empty, ok := m.empty.Load(k)
	if !ok {
		tv, err := typedValue(t, k.New())
		if err != nil {
			return nil, err
		}
		empty, _ = m.empty.LoadOrStore(k, tv)
	}
	diff, err := empty.(*typed.TypedValue).Compare(made)
	if err != nil {
		return nil, err
	}
	return diff.Added.Union(diff.Modified), nil
}

// fields returns a new object as the merge sees it.
func (m *fieldManagers) fields(k *kind.Kind, t typed.ParseableType, obj kind.Object) (*typed.TypedValue, error) {
	if k.Custom {
		return typedValue(t, obj, typed.AllowDuplicates)
	}
	v, err := value.NewValueReflect(obj)
	if err != nil {
		return nil, err
	}
	// An object of the Go type has no field that the schema made of this type lacks, and what it says twice is the
	// kind's own validation's to refuse: checking it here would walk every new object once more.
	return typed.AsTypedUnvalidated(v, t.Schema, t.TypeRef), nil //nolint:staticcheck // see above
}

// update sets the managedFields of a changed object: the manager takes what it changed. An object that did not
// change keeps its entries, so that the write is seen to be none.
func (m *fieldManagers) update(k *kind.Kind, obj, old kind.Object, subresource, manager string) error {
	sent := obj.GetManagedFields()
	reset := sent != nil && len(sent) == 0 || len(sent) == 1 && reflect.DeepEqual(sent[0], metav1.ManagedFieldsEntry{})
	if !reset {
		obj.SetManagedFields(old.GetManagedFields())
		if equalObjects(obj, old) && (len(sent) == 0 || apiequality.Semantic.DeepEqual(sent, old.GetManagedFields())) {
			return nil
		}
		obj.SetManagedFields(sent)
	}
	fm, err := m.manager(k, subresource)
	if err != nil {
		return err
	}
	changed := fm.UpdateNoErrors(withType(k, old), withType(k, obj), managerName(manager))
	obj.SetManagedFields(changed.(kind.Object).GetManagedFields())
	return nil
}

// keepTimes restores the old entries when nothing but their times changed.
func keepTimes(obj, old kind.Object) {
	a, b := obj.GetManagedFields(), old.GetManagedFields()
	if len(a) != len(b) {
		return
	}
	for i := range a {
		x, y := a[i], b[i]
		x.Time, y.Time = nil, nil
		if !apiequality.Semantic.DeepEqual(x, y) {
			return
		}
	}
	obj.SetManagedFields(b)
	if !equalObjects(obj, old) {
		obj.SetManagedFields(a)
	}
}

// apply merges an applied configuration into live (an empty object on create) and returns the result, or
// nil when nothing changed.
func (m *fieldManagers) apply(k *kind.Kind, live kind.Object, patch *unstructured.Unstructured, subresource, manager string, force bool) (kind.Object, error) {
	fm, err := m.manager(k, subresource)
	if err != nil {
		return nil, err
	}
	merged, err := fm.Apply(withType(k, live), patch, manager, force)
	if err != nil {
		return nil, asApplyError(err)
	}
	obj, ok := merged.(kind.Object)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("cannot use a merged %T", merged))
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj, nil
}

func asApplyError(err error) error {
	if _, ok := err.(apierrors.APIStatus); ok {
		return err
	}
	return apierrors.NewBadRequest(err.Error())
}

func (m *fieldManagers) manager(k *kind.Kind, subresource string) (*managedfields.FieldManager, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := managerKey{k, subresource}
	if fm := m.managers[key]; fm != nil {
		return fm, nil
	}
	var ignored *fieldpath.Set
	switch {
	case subresource == "status" && k.Status != nil:
		ignored = k.Status.Unowned
	case subresource == "approval" && k.Approval != nil:
		ignored = k.Approval.Unowned
	case subresource == "resize", subresource == "ephemeralcontainers":
		ignored = fieldpath.NewSet() // all that is sent, as in Kubernetes
	default:
		ignored = unowned(k)
	}
	c := converter{k, map[schema.GroupVersion]*kind.Kind{k.GroupVersion(): k}}
	for _, other := range m.kinds.Served() {
		if other.StoredKind() == k.StoredKind() {
			c.versions[other.GroupVersion()] = other
		}
	}
	reset := map[fieldpath.APIVersion]*fieldpath.Set{}
	for gv := range c.versions {
		reset[fieldpath.APIVersion(gv.String())] = ignored
	}
	fm, err := managedfields.NewDefaultFieldManager(m, c, c, c, k.GroupVersionKind, k.GroupVersion(), subresource,
		fieldpath.NewExcludeFilterSetMap(reset))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	m.managers[key] = fm
	return fm, nil
}

// withType returns obj, or a shallow copy of it that has its TypeMeta: what comes from the store has none, is
// shared, and must not be changed.
func withType(k *kind.Kind, obj kind.Object) kind.Object {
	if obj.GetObjectKind().GroupVersionKind() == k.GroupVersionKind {
		return obj
	}
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	out := c.Interface().(kind.Object)
	out.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return out
}

// forget drops what was kept for a resource whose definition changed; kinds are those that it has now.
func (m *fieldManagers) forget(gr schema.GroupResource, kinds ...*kind.Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.managers {
		if key.kind.StoredKind().GroupResource() == gr && !slices.Contains(kinds, key.kind) {
			delete(m.managers, key)
			m.empty.Delete(key.kind)
		}
	}
	m.empty.Range(func(key, _ any) bool {
		if k := key.(*kind.Kind); k.StoredKind().GroupResource() == gr && !slices.Contains(kinds, k) {
			m.empty.Delete(key)
		}
		return true
	})
}

// converter is the field manager's view of one version of a kind and of the others.
type converter struct {
	kind     *kind.Kind
	versions map[schema.GroupVersion]*kind.Kind
}

func (c converter) Convert(in, out, context any) error {
	return fmt.Errorf("cannot convert %T to %T here", in, out)
}

// ConvertToVersion converts between the versions that are served. A version that is not is told by an error that
// makes the field manager forget what it owned under it.
func (c converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	from := c.versions[in.GetObjectKind().GroupVersionKind().GroupVersion()]
	if from == nil {
		from = c.kind
	}
	to := from
	if gv, ok := target.(schema.GroupVersion); ok {
		if to = c.versions[gv]; to == nil {
			return nil, runtime.NewNotRegisteredErrForTarget("custom", reflect.TypeOf(in), target)
		}
	}
	obj, err := asObject(from, in)
	if err != nil {
		return nil, err
	}
	if from == to {
		return withType(to, obj), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), convertTimeout)
	defer cancel()
	if obj, err = toStored(ctx, from, obj); err != nil {
		return nil, err
	}
	if to.FromStored != nil {
		objs, err := to.FromStored(ctx, []kind.Object{obj})
		if err != nil {
			return nil, err
		}
		obj = objs[0]
	}
	return withType(to, obj), nil
}

// convertTimeout bounds a conversion by a webhook where no request's context is at hand.
const convertTimeout = 30 * time.Second

// asObject returns in as an object of k: the merge works on maps.
func asObject(k *kind.Kind, in runtime.Object) (kind.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in.(kind.Object), nil
	}
	obj := k.New()
	if custom, ok := obj.(*kind.Custom); ok {
		// what was merged shares its parts with the live object, which stays as it is
		if _, err := custom.SetMap(runtime.DeepCopyJSON(u.Object)); err != nil {
			return nil, err
		}
		if k.Prune != nil {
			if _, err := k.Prune(custom); err != nil {
				return nil, err
			}
		}
		return custom, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, fmt.Errorf("unable to convert unstructured object to %s: %w", k.GroupVersionKind, err)
	}
	return obj, nil
}

func (c converter) ConvertFieldLabel(schema.GroupVersionKind, string, string) (string, string, error) {
	return "", "", fmt.Errorf("cannot convert field labels here")
}

func (c converter) Default(in runtime.Object) {
	if c.kind.Default != nil {
		c.kind.Default(in.(kind.Object))
	}
}

func (c converter) New(schema.GroupVersionKind) (runtime.Object, error) {
	obj := c.kind.New()
	obj.GetObjectKind().SetGroupVersionKind(c.kind.GroupVersionKind)
	return obj, nil
}

// MergeSchema is the schema that server-side apply merges by: list types, map keys, atomic fields.
func (r *Registry) MergeSchema() *smdschema.Schema { return r.managed.schema() }
