package kind

import (
	"context"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// further describes a further version T of the kind whose objects are stored as S. Rules are those of S, which the
// object is converted to and back for: field paths in errors are S's, as Kubernetes has it for kinds of its own.
type further[T, S Object] struct {
	stored *Kind
	gv     schema.GroupVersion
	new    func() T
	list   func() runtime.Object
	// to and from convert. What they return may share memory with what they are given.
	to   func(T) (S, error)
	from func(S) T
	// fields renames the selectable fields; nil keeps their names.
	fields func(fields.Set) fields.Set
}

func (f further[T, S]) build() *Kind {
	s := f.stored
	k := &Kind{
		GroupVersionKind: f.gv.WithKind(s.Kind),
		Stored:           s,
		Plural:           s.Plural, Singular: s.Singular, ShortNames: s.ShortNames, Categories: s.Categories, Namespaced: s.Namespaced,
		New:        func() Object { return f.new() },
		NewList:    f.list,
		Generation: s.Generation,
		ValidName:  s.ValidName,
		Columns:    s.Columns,
		Indexes:    s.Indexes,
		FromStored: func(_ context.Context, objs []Object) ([]Object, error) {
			out := make([]Object, len(objs))
			for i, obj := range objs {
				out[i] = f.from(obj.(S))
			}
			return out, nil
		},
		ToStored: func(_ context.Context, obj Object) (Object, error) {
			out, err := f.to(obj.DeepCopyObject().(T))
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return out, nil
		},
		Default:        f.one(s.Default),
		PrepareCreate:  f.one(s.PrepareCreate),
		PrepareUpdate:  f.two(s.PrepareUpdate),
		Validate:       f.check(s.Validate),
		ValidateCreate: f.check(s.ValidateCreate),
		ValidateUpdate: f.compare(s.ValidateUpdate),
		Fields:         s.Fields,
		Row: func(obj Object, now time.Time) []any {
			in, err := f.to(obj.DeepCopyObject().(T))
			if err != nil {
				return make([]any, len(s.Columns))
			}
			return s.Row(in, now)
		},
	}
	if f.fields != nil {
		k.Fields = func(obj Object) fields.Set { return f.fields(s.Fields(obj)) }
	}
	if s.Status != nil {
		k.Status = &Status{PrepareUpdate: f.two(s.Status.PrepareUpdate), Validate: f.compare(s.Status.Validate), Unowned: s.Status.Unowned}
	}
	return k
}

// one lets a rule change an object as if it were stored. What can not be converted is refused by validation.
func (f further[T, S]) one(rule func(Object)) func(Object) {
	if rule == nil {
		return nil
	}
	return func(obj Object) {
		if in, err := f.to(obj.DeepCopyObject().(T)); err == nil {
			rule(in)
			f.replace(obj, in)
		}
	}
}

func (f further[T, S]) two(rule func(obj, old Object)) func(obj, old Object) {
	if rule == nil {
		return nil
	}
	return func(obj, old Object) {
		in, err := f.to(obj.DeepCopyObject().(T))
		before, oldErr := f.to(old.DeepCopyObject().(T))
		if err == nil && oldErr == nil {
			rule(in, before)
			f.replace(obj, in)
		}
	}
}

func (f further[T, S]) replace(obj Object, by S) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(f.from(by)).Elem())
	obj.GetObjectKind().SetGroupVersionKind(gvk)
}

func (f further[T, S]) check(rule func(Object) field.ErrorList) func(Object) field.ErrorList {
	if rule == nil {
		return nil
	}
	return func(obj Object) field.ErrorList {
		in, err := f.to(obj.DeepCopyObject().(T))
		if err != nil {
			return unconvertible(obj, err)
		}
		return rule(in)
	}
}

func (f further[T, S]) compare(rule func(obj, old Object) field.ErrorList) func(obj, old Object) field.ErrorList {
	if rule == nil {
		return nil
	}
	return func(obj, old Object) field.ErrorList {
		in, err := f.to(obj.DeepCopyObject().(T))
		if err != nil {
			return unconvertible(obj, err)
		}
		before, err := f.to(old.DeepCopyObject().(T))
		if err != nil {
			return unconvertible(old, err)
		}
		return rule(in, before)
	}
}

func unconvertible(obj metav1.Object, err error) field.ErrorList {
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations"), obj.GetName(), err.Error())}
}
