// Package kind holds what the API knows of each kind it serves: one file a kind, with its defaults,
// validation, status rules, printed columns, selectable fields and subresources; where that is much, further files whose
// names begin with that of the kind. A kind is data and pure functions; the one generic path that every kind takes is in
// package registry.
//
// What kinds share, and is a subject of its own, is in packages beneath: podspec for pods and all that has a template of
// them, on container, volume and scheduling; and for fields of any kind validate, defaults, quantity and unversioned.
package kind

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// Convert returns an object of the version from in the version to of the same resource. It does not change obj and may
// return it, or an object that shares memory with it. An object of a kind that is defined at run time has to say its
// type.
func Convert(ctx context.Context, obj Object, from, to *Kind) (Object, error) {
	if from.GroupVersionKind == to.GroupVersionKind {
		return obj, nil
	}
	if to.FromVersion != nil {
		return to.FromVersion(ctx, obj)
	}
	if from.ToStored != nil {
		var err error
		if obj, err = from.ToStored(ctx, obj); err != nil {
			return nil, err
		}
	}
	if to.FromStored == nil {
		return obj, nil
	}
	out, err := to.FromStored(ctx, []Object{obj})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

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
	// Stored is the kind in whose form the objects are stored, when this is a further version of it; nil when
	// it is this one. There is one stored kind a resource: caches, owners, namespaces and quotas know no other.
	Stored *Kind
	// FromStored makes objects of this version of what the store holds, in order, and ToStored an object for the
	// store of one of this version. They may return what they were given, when it is of the right form
	// already, and never change it; they may take as long as ctx lets them. Nil means that the store's objects
	// are of this version as they are.
	FromStored func(ctx context.Context, objs []Object) ([]Object, error)
	ToStored   func(ctx context.Context, obj Object) (Object, error)
	// Asks says whether FromStored asks a webhook for what the store holds so: its answer may be another the next time,
	// while nothing has changed here. Nil means that it never does.
	Asks func(stored Object) bool
	// FromVersion makes an object of this version of one of any version, which says its type, and keeps what this
	// version does not know, so that the object can be converted back. Nil means by way of the stored version.
	FromVersion func(ctx context.Context, obj Object) (Object, error)
	// Unserved says that objects can not be reached under the kind's own version, though they may be stored in it or
	// be converted to it.
	Unserved bool
	// Place is where a version stands among those of its definition: when webhooks' rules name several other versions
	// than a request's, the first is sent.
	Place int

	// Plural is the resource's name in paths: "pods".
	Plural     string
	Singular   string
	ShortNames []string
	Categories []string
	Namespaced bool
	// ListKind is the name of lists; "" means Kind with "List" behind it.
	ListKind string

	// New returns an empty object, NewList an empty list of them.
	New     func() Object
	NewList func() runtime.Object

	// Terminating says that no new objects are taken, since the kind's definition is being deleted.
	Terminating bool
	// Custom says that the kind was defined at run time: its objects are *Custom.
	Custom bool
	// Prune drops from a decoded object what its schema does not know, and returns the paths of that in order.
	// Nil for kinds with a Go type, whose decoder does so.
	Prune func(obj Object) (unknown []string, err error)
	// Merge is the type by which server-side apply merges objects; nil for kinds that client-go has one of.
	Merge func() (typed.ParseableType, error)
	// Unowned is what writers of the whole object do not come to own, beside the status; nil for nothing.
	Unowned *fieldpath.Set
	// Model returns the name and the schema of the kind in OpenAPI of version 3 or else 2. Nil for kinds with a Go
	// type, which says it all.
	Model func(version3 bool) (name string, schema *spec.Schema)

	// Default sets the defaults that the API reference documents, after decoding and before admission. It also
	// runs on what is read from etcd where the stored form may be older than the code.
	Default func(obj Object)
	// PrepareCreate clears what a client may not set on create: status, and fields that the server owns.
	PrepareCreate func(obj Object)
	// Requestor writes into a new object who asks for it, over whatever the client says; u is nil for the server
	// itself.
	Requestor func(obj Object, u *User)
	// Complete writes into a new object what follows from what admission left of it, once, before validation. It returns
	// texts for Warning headers.
	Complete func(obj Object) (warnings []string)
	// PrepareUpdate restores from old what an update of the main resource may not change, status above all.
	// The generic path sets metadata.generation: it increments when anything but metadata and status changed,
	// for kinds with Generation set.
	PrepareUpdate func(obj, old Object)
	// Generation says that metadata.generation is kept for this kind.
	Generation bool

	// Validate returns every error of a new object with the field path that the API reference would name.
	// ObjectMeta itself is validated by the generic path with ValidName.
	Validate func(obj Object) field.ErrorList
	// ValidateCreate returns further errors of a new object, for kinds whose updates are held to less.
	ValidateCreate func(obj Object) field.ErrorList
	// ValidateUpdate returns the errors of a change: immutable fields above all. Validate has run on obj already.
	ValidateUpdate func(obj, old Object) field.ErrorList
	// ValidName returns what is wrong with a name (prefix: it comes from generateName); nil means DNS-1123 subdomain.
	ValidName func(name string, prefix bool) []string
	// Deprecation is a text for a Warning header with every answer; "" for versions that are not deprecated.
	Deprecation string
	// Warnings returns texts for Warning headers: deprecated or ignored fields. old is nil on create.
	Warnings func(obj, old Object) []string

	// Status is set when the kind has a status subresource.
	Status *Status
	// Approval is set when the kind has an approval subresource: the part of the status that says yes or no.
	Approval *Status
	// Scale is set when the kind has a scale subresource.
	Scale *Scale

	// Fields are the selectable fields beside metadata.name and metadata.namespace, of an object as it is stored.
	Fields func(obj Object) fields.Set
	// Indexes are kept by the cache for List with ListQuery.Index: name to values of an object.
	Indexes map[string]func(obj Object) []string

	// Columns and Row print the kind as a table (meta/v1 Table); Name comes first, Age where Kubernetes has it.
	Columns []metav1.TableColumnDefinition
	Row     func(obj Object, now time.Time) []any

	// GracePeriod returns the seconds of grace that a delete with these options gives the object; nil or 0 means
	// that the object goes at once (when it has no finalizers).
	GracePeriod func(obj Object, opts *metav1.DeleteOptions) int64
	// MarkDeleted changes an object whose deletion begins, before anything is done about it.
	MarkDeleted func(obj Object)
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
	// Unowned is what writers of the status do not come to own, whatever they send.
	Unowned *fieldpath.Set
}

// Paths returns the set of these paths of fields, whose parts are separated by dots.
func Paths(paths ...string) *fieldpath.Set {
	set := fieldpath.NewSet()
	for _, p := range paths {
		var path fieldpath.Path
		for part := range strings.SplitSeq(p, ".") {
			path = append(path, fieldpath.FieldNameElement(part))
		}
		set.Insert(path)
	}
	return set
}

// Scale maps an object to autoscaling/v1 Scale and back.
type Scale struct {
	Get func(obj Object) (specReplicas, statusReplicas int32, selector string)
	Set func(obj Object, replicas int32)
	// Path is where the object has the replicas that are wanted.
	Path []string
}

// StoredKind returns the kind in whose form the objects are stored.
func (k *Kind) StoredKind() *Kind {
	if k.Stored != nil {
		return k.Stored
	}
	return k
}

// HasSubresource says whether a subresource of objects is there in this version of theirs, as far as versions differ.
func (k *Kind) HasSubresource(name string) bool {
	switch name {
	case "status":
		return k.Status != nil
	case "scale":
		return k.Scale != nil
	}
	return true
}

// GroupResource returns the resource's group and plural name.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// GroupVersionResource returns the resource as paths name it.
func (k *Kind) GroupVersionResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: k.Plural}
}

// Builtin returns the table of the kinds that every server is built with. It is made once and must not be
// changed: each registry has a copy of its own, to which kinds that are defined at run time are added.
var Builtin = sync.OnceValue(func() *Table { return NewTable(all()...) })

// Of returns the built-in kind whose Go type is T: Of[*corev1.Pod](). It panics when there is none, which is a
// defect of the program.
func Of[T Object]() *Kind {
	k := Builtin().now.Load().byType[reflect.TypeFor[T]()]
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
