package kind

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
)

// OwnerIndex is the index that every kind has: objects by the uid of each of their owners.
const OwnerIndex = "owner"

// definition is a Kind in terms of its own Go type. Its fields mean what those of Kind mean; build erases the
// type and adds what all kinds have.
type definition[T Object] struct {
	gv         schema.GroupVersion
	kind       string
	plural     string
	singular   string
	short      []string
	categories []string
	namespaced bool
	generation bool

	new  func() T
	list func() runtime.Object

	defaults      func(T)
	prepareCreate func(T)
	requestor     func(obj T, u *User)
	complete      func(T) (warnings []string)
	template      func(T) *corev1.PodTemplateSpec // of kinds that make pods
	prepareUpdate func(obj, old T)
	validate      func(T) field.ErrorList
	// validateTemplated is validate for a kind with a template, of which an update may keep what breaks newer rules.
	validateTemplated func(obj T, e podspec.Exempt) field.ErrorList
	validateCreate    func(T) field.ErrorList
	validateUpdate    func(obj, old T) field.ErrorList
	validName         func(name string, prefix bool) []string
	warnings          func(obj, old T) []string

	status   *statusRules[T]
	approval *statusRules[T]
	scale    *scaleRules[T]

	fields  func(T) fields.Set
	indexes map[string]func(T) []string

	columns []metav1.TableColumnDefinition
	row     func(obj T, now time.Time) []any

	markDeleted func(T)
	gracePeriod func(T, *metav1.DeleteOptions) int64
	ttl         func(T) time.Duration
	claims      func(T) []string
}

type statusRules[T Object] struct {
	prepareUpdate func(obj, old T)
	validate      func(obj, old T) field.ErrorList
	unowned       *fieldpath.Set // nil means the spec
}

func (r *statusRules[T]) build() *Status {
	if r == nil {
		return nil
	}
	s := &Status{PrepareUpdate: two(r.prepareUpdate), Validate: twoTo(r.validate), Unowned: r.unowned}
	if s.Unowned == nil {
		s.Unowned = Paths("spec")
	}
	return s
}

type scaleRules[T Object] struct {
	get func(T) (spec, status int32, selector string)
	set func(T, int32)
}

// build returns the kind. A field of the definition that is nil stays nil.
func (d definition[T]) build() *Kind {
	k := &Kind{
		GroupVersionKind: d.gv.WithKind(d.kind),
		Plural:           d.plural,
		Singular:         d.singular,
		ShortNames:       d.short,
		Categories:       d.categories,
		Namespaced:       d.namespaced,
		Generation:       d.generation,
		New:              func() Object { return d.new() },
		NewList:          d.list,
		Default:          one(d.defaults),
		PrepareCreate:    one(d.prepareCreate),
		PrepareUpdate:    two(d.prepareUpdate),
		Validate:         oneTo(d.validate),
		ValidateCreate:   oneTo(d.validateCreate),
		ValidateUpdate:   twoTo(d.validateUpdate),
		ValidName:        d.validName,
		Fields:           oneTo(d.fields),
		Indexes:          map[string]func(Object) []string{OwnerIndex: OwnerUIDs},
		Columns:          d.columns,
		Row:              func(obj Object, now time.Time) []any { return d.row(obj.(T), now) },
		MarkDeleted:      one(d.markDeleted),
		TTL:              oneTo(d.ttl),
		Claims:           oneTo(d.claims),
	}
	for name, index := range d.indexes {
		k.Indexes[name] = oneTo(index)
	}
	if d.warnings != nil {
		k.Warnings = func(obj, old Object) []string {
			before, _ := old.(T)
			return d.warnings(obj.(T), before)
		}
	}
	if d.gracePeriod != nil {
		k.GracePeriod = func(obj Object, opts *metav1.DeleteOptions) int64 { return d.gracePeriod(obj.(T), opts) }
	}
	if d.template != nil {
		d.complete = func(obj T) []string { podspec.DropTemplate(d.template(obj), nil); return nil }
		prepare := k.PrepareUpdate
		k.PrepareUpdate = func(obj, old Object) {
			if prepare != nil {
				prepare(obj, old)
			}
			podspec.DropTemplate(d.template(obj.(T)), d.template(old.(T)))
		}
	}
	if d.validateTemplated != nil {
		create, update := k.ValidateCreate, k.ValidateUpdate
		k.ValidateCreate = func(obj Object) field.ErrorList {
			errs := d.validateTemplated(obj.(T), podspec.Exempt{})
			if create != nil {
				errs = append(errs, create(obj)...)
			}
			return errs
		}
		k.ValidateUpdate = func(obj, old Object) field.ErrorList {
			errs := d.validateTemplated(obj.(T), podspec.TemplateExemptions(d.template(old.(T))))
			if update != nil {
				errs = append(errs, update(obj, old)...)
			}
			return errs
		}
	}
	if d.complete != nil {
		k.Complete = func(obj Object) []string { return d.complete(obj.(T)) }
	}
	if d.requestor != nil {
		k.Requestor = func(obj Object, u *User) { d.requestor(obj.(T), u) }
	}
	k.Status, k.Approval = d.status.build(), d.approval.build()
	if d.scale != nil {
		k.Scale = &Scale{
			Path: []string{"spec", "replicas"},
			Get:  func(obj Object) (int32, int32, string) { return d.scale.get(obj.(T)) },
			Set:  func(obj Object, replicas int32) { d.scale.set(obj.(T), replicas) },
		}
	}
	return k
}

func one[T Object](f func(T)) func(Object) {
	if f == nil {
		return nil
	}
	return func(obj Object) { f(obj.(T)) }
}

func two[T Object](f func(obj, old T)) func(obj, old Object) {
	if f == nil {
		return nil
	}
	return func(obj, old Object) { f(obj.(T), old.(T)) }
}

func oneTo[T Object, R any](f func(T) R) func(Object) R {
	if f == nil {
		return nil
	}
	return func(obj Object) R { return f(obj.(T)) }
}

func twoTo[T Object, R any](f func(obj, old T) R) func(obj, old Object) R {
	if f == nil {
		return nil
	}
	return func(obj, old Object) R { return f(obj.(T), old.(T)) }
}

// OwnerUIDs returns the values of an object in OwnerIndex.
func OwnerUIDs(obj Object) []string {
	refs := obj.GetOwnerReferences()
	if len(refs) == 0 {
		return nil
	}
	uids := make([]string, len(refs))
	for i, ref := range refs {
		uids[i] = string(ref.UID)
	}
	return uids
}

// none is the validation of a kind that the API accepts in every form.
func none[T Object](T) field.ErrorList { return nil }
