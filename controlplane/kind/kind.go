// Package kind holds what the API knows of each kind it serves: one file a kind, with its defaults,
// validation, status rules, printed columns, selectable fields and subresources. A kind is data and pure
// functions; the one generic path that every kind takes is in package registry.
package kind

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is an API object: the external, versioned Go type of k8s.io/api. An Object that was read from the
// store is shared and must not be changed; DeepCopyObject it first.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind describes one kind. All functions are pure but for the object that they are given to change, and may
// run at once. A nil function means that the kind has no such rule.
type Kind struct {
	schema.GroupVersionKind
	// Plural is the resource's name in paths: "pods".
	Plural     string
	Singular   string
	ShortNames []string
	Categories []string
	Namespaced bool

	// New returns an empty object, NewList an empty list of them.
	New     func() Object
	NewList func() runtime.Object

	// Default sets the defaults that the API reference documents, after decoding and before admission. It also
	// runs on what is read from etcd where the stored form may be older than the code.
	Default func(obj Object)
	// PrepareCreate clears what a client may not set on create: status, and fields that the server owns.
	PrepareCreate func(obj Object)
	// Requestor writes into a new object who asks for it, over whatever the client says; u is nil for the server
	// itself.
	Requestor func(obj Object, u *User)
	// PrepareUpdate restores from old what an update of the main resource may not change, status above all.
	// The generic path sets metadata.generation: it increments when anything but metadata and status changed,
	// for kinds with Generation set.
	PrepareUpdate func(obj, old Object)
	// Generation says that metadata.generation is kept for this kind.
	Generation bool

	// Validate returns every error of a new object with the field path that the API reference would name.
	// ObjectMeta itself is validated by the generic path with ValidName.
	Validate func(obj Object) field.ErrorList
	// ValidateUpdate returns the errors of a change: immutable fields above all. Validate has run on obj already.
	ValidateUpdate func(obj, old Object) field.ErrorList
	// ValidName returns what is wrong with a name (prefix: it comes from generateName); nil means DNS-1123 subdomain.
	ValidName func(name string, prefix bool) []string
	// Warnings returns texts for Warning headers: deprecated or ignored fields. old is nil on create.
	Warnings func(obj, old Object) []string

	// Status is set when the kind has a status subresource.
	Status *Status
	// Approval is set when the kind has an approval subresource: the part of the status that says yes or no.
	Approval *Status
	// Scale is set when the kind has a scale subresource.
	Scale *Scale

	// Fields are the selectable fields beside metadata.name and metadata.namespace.
	Fields func(obj Object) fields.Set
	// Indexes are kept by the cache for List with ListQuery.Index: name to values of an object.
	Indexes map[string]func(obj Object) []string

	// Columns and Row print the kind as a table (meta/v1 Table); Name comes first, Age where Kubernetes has it.
	Columns []metav1.TableColumnDefinition
	Row     func(obj Object, now time.Time) []any

	// GracePeriod returns the seconds of grace that a delete with these options gives the object; nil or 0 means
	// that the object goes at once (when it has no finalizers).
	GracePeriod func(obj Object, opts *metav1.DeleteOptions) int64
	// TTL returns after how long a created object expires by itself (events); nil means never.
	TTL func(obj Object) time.Duration
	// Claims returns names that no two objects may hold at once, such as "clusterip/10.96.0.7" or
	// "nodeport/TCP/30080". The store writes them in the transaction that writes the object, so they survive a
	// crash, refuse duplicates and can not leak.
	Claims func(obj Object) []string
}

// Status holds the rules of a status subresource.
type Status struct {
	// PrepareUpdate restores from old all that a status update may not change: spec and metadata but
	// labels/annotations/finalizers/ownerReferences as Kubernetes has it.
	PrepareUpdate func(obj, old Object)
	Validate      func(obj, old Object) field.ErrorList
}

// Scale maps an object to autoscaling/v1 Scale and back.
type Scale struct {
	Get func(obj Object) (specReplicas, statusReplicas int32, selector string)
	Set func(obj Object, replicas int32)
}

// GroupResource returns the resource's group and plural name.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// GroupVersionResource returns the resource as paths name it.
func (k *Kind) GroupVersionResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: k.Plural}
}

// Table is a set of kinds by type, by resource and by kind. It is immutable after NewTable.
type Table struct {
	kinds      []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	byType     map[reflect.Type]*Kind
}

// NewTable indexes kinds. It panics on a duplicate, which is a defect of the program.
func NewTable(kinds ...*Kind) *Table {
	t := &Table{
		byResource: map[schema.GroupVersionResource]*Kind{},
		byKind:     map[schema.GroupVersionKind]*Kind{},
		byType:     map[reflect.Type]*Kind{},
	}
	for _, k := range kinds {
		if t.byKind[k.GroupVersionKind] != nil || t.byResource[k.GroupVersionResource()] != nil {
			panic(fmt.Sprintf("kind %s is in the table twice", k.GroupVersionKind))
		}
		t.kinds = append(t.kinds, k)
		t.byKind[k.GroupVersionKind] = k
		t.byResource[k.GroupVersionResource()] = k
		t.byType[reflect.TypeOf(k.New())] = k
	}
	return t
}

// Kinds returns all kinds in the order of discovery. The slice must not be changed.
func (t *Table) Kinds() []*Kind { return t.kinds }

// ByResource returns the kind that a path names, or nil.
func (t *Table) ByResource(gvr schema.GroupVersionResource) *Kind { return t.byResource[gvr] }

// ByKind returns the kind of that name, or nil.
func (t *Table) ByKind(gvk schema.GroupVersionKind) *Kind { return t.byKind[gvk] }

// ByType returns the kind whose Go type obj has, or nil.
func (t *Table) ByType(obj any) *Kind { return t.byType[reflect.TypeOf(obj)] }

// Builtin returns the table of the kinds that this server is built with. It is made once.
var Builtin = sync.OnceValue(func() *Table { return NewTable(all()...) })

// Of returns the built-in kind whose Go type is T: Of[*corev1.Pod](). It panics when there is none, which is a
// defect of the program.
func Of[T Object]() *Kind {
	k := Builtin().byType[reflect.TypeFor[T]()]
	if k == nil {
		panic(fmt.Sprintf("no kind has the type %s", reflect.TypeFor[T]()))
	}
	return k
}

// Verb is what an admission plug-in is asked about.
type Verb string

// The verbs that admission sees.
const (
	Create  Verb = "CREATE"
	Update  Verb = "UPDATE"
	Delete  Verb = "DELETE"
	Connect Verb = "CONNECT"
)

// UserKey is how the authenticated user travels in a context; package api sets it, admission reads it through
// UserFrom.
type userKey struct{}

// User is who makes a request.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// WithUser returns ctx with the user of a request.
func WithUser(ctx context.Context, u *User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserFrom returns the user of a request, or nil for the server itself.
func UserFrom(ctx context.Context) *User { u, _ := ctx.Value(userKey{}).(*User); return u }

type annotatorKey struct{}

// WithAnnotator returns ctx with the function that adds to the audit event of a request.
func WithAnnotator(ctx context.Context, add func(key, value string)) context.Context {
	return context.WithValue(ctx, annotatorKey{}, add)
}

// Annotate adds an annotation to the audit event of a request, if it has one: admission says by it why it let
// something pass.
func Annotate(ctx context.Context, key, value string) {
	if add, ok := ctx.Value(annotatorKey{}).(func(key, value string)); ok {
		add(key, value)
	}
}
