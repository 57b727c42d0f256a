package registry

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// modifiedMessage is what Kubernetes answers to a stale resourceVersion.
const modifiedMessage = "the object has been modified; please apply your changes to the latest version and try again"

// change makes the new state from the current one. It must not alter cur, which is shared, and may be called
// several times; what it returns becomes the registry's.
type change func(cur kind.Object) (kind.Object, error)

// result of a write that may have created or removed the object.
type result struct {
	item    *store.Item
	created bool
}

// errLastFinalizer ends an update whose result is that the object goes.
var errLastFinalizer = errors.New("the last finalizer is gone")

// Update replaces an object, or with subresource "status", "approval" or "finalize" that part of it. A resourceVersion in
// obj is a precondition. It says whether the object was created (see Write.CreateMissing).
func (r *Registry) Update(ctx context.Context, k *kind.Kind, obj kind.Object, subresource string, w Write) (*store.Item, bool, error) {
	pre := obj.GetResourceVersion()
	uid := obj.GetUID()
	res, err := r.change(ctx, k, obj.GetNamespace(), obj.GetName(), subresource, w, func(cur kind.Object) (kind.Object, error) {
		if pre != "" && pre != cur.GetResourceVersion() {
			return nil, apierrors.NewConflict(k.GroupResource(), cur.GetName(), errors.New(modifiedMessage))
		}
		if uid != "" && uid != cur.GetUID() {
			return nil, uidConflict(k, cur, string(uid))
		}
		if pre == "" && !w.Unconditional && !unconditional(k) && (subresource == "" || subresource == "status") {
			// Kubernetes names the resource here, not the kind
			return nil, apierrors.NewInvalid(schema.GroupKind{Group: k.Group, Kind: k.Plural}, cur.GetName(), mustHaveVersion)
		}
		return obj.DeepCopyObject().(kind.Object), nil
	})
	if apierrors.IsNotFound(err) && w.CreateMissing && subresource == "" && createsOnUpdate[k.GroupResource()] {
		if pre != "" {
			return nil, false, apierrors.NewConflict(k.GroupResource(), obj.GetName(), errors.New("the object does not exist any more"))
		}
		item, err := r.Create(ctx, k, obj, w)
		return item, err == nil, err
	}
	return res.item, res.created, err
}

func uidConflict(k *kind.Kind, cur kind.Object, want string) error {
	return apierrors.NewConflict(k.GroupResource(), cur.GetName(),
		fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", want, cur.GetUID()))
}

// change is the one way in which an object that exists is changed.
func (r *Registry) change(ctx context.Context, k *kind.Kind, namespace, name, subresource string, w Write, f change) (result, error) {
	for claims := 0; ; {
		var last *store.Item
		var req *admission.Request // of the latest try
		var left kind.Object       // what it made
		step := func(cur *store.Item) (obj kind.Object, err error) {
			if req != nil {
				req.Settle(admission.Refused)
			}
			last = cur
			shown, err := present(ctx, k, cur)
			if err != nil {
				return nil, err
			}
			left, req, err = r.prepareChange(ctx, k, shown.Object, subresource, w, f)
			return left, err
		}
		var item *store.Item
		var err error
		if w.DryRun {
			item, err = r.dryChange(ctx, k, namespace, name, step)
		} else {
			item, err = r.store.Update(ctx, k.StoredKind(), namespace, name, func(cur *store.Item) (kind.Object, error) {
				obj, err := step(cur)
				if err != nil {
					return nil, err
				}
				return toStored(ctx, k, obj)
			})
		}
		if req != nil {
			req.Settle(outcomeOf(err))
		}
		var claim *store.ClaimError
		switch {
		case err == nil && w.DryRun:
			return result{item: item}, nil
		case err == nil:
			item, err = present(ctx, k, item)
			return result{item: item}, err
		case errors.Is(err, errLastFinalizer):
			gone, err := r.removeUnchanged(ctx, k, last, w)
			if err == nil {
				left.SetResourceVersion(gone.Object.GetResourceVersion())
				return result{item: &store.Item{Object: left, Revision: gone.Revision}}, nil
			}
			if !errors.Is(err, errChangedMeanwhile) {
				return result{}, asStatus(err)
			}
		case errors.As(err, &claim):
			if claims++; claims >= maxClaimRetries {
				return result{}, claimRefused(k, last.Object, claim)
			}
		default:
			return result{}, asStatus(err)
		}
	}
}

func (r *Registry) dryChange(ctx context.Context, k *kind.Kind, namespace, name string, step func(*store.Item) (kind.Object, error)) (*store.Item, error) {
	cur, err := r.store.Get(ctx, k.StoredKind(), namespace, name, "")
	if err != nil {
		return nil, err
	}
	obj, err := step(cur)
	if err != nil {
		return nil, err
	}
	obj.SetResourceVersion(cur.Object.GetResourceVersion())
	return &store.Item{Object: obj, Revision: cur.Revision}, nil
}

// prepareChange takes an update through every step before the store. The caller settles the request that it returns
// unless that is nil.
func (r *Registry) prepareChange(ctx context.Context, k *kind.Kind, old kind.Object, subresource string, w Write, f change) (kind.Object, *admission.Request, error) {
	if err := checkPreconditions(k, old, w.Preconditions); err != nil {
		return nil, nil, err
	}
	obj, err := f(old)
	if err != nil {
		return nil, nil, err
	}
	rules := rulesOf(k, subresource)
	obj.SetResourceVersion(old.GetResourceVersion())
	keepMeta(obj, old)
	dedupOwners(obj, w.warn)
	if k.Default != nil {
		k.Default(obj)
	}
	// A client manages what it sends, also where the server then does not take it; what the server adds is nobody's. A
	// binding or an eviction is a word to the server, not a field that anybody manages.
	said := subresource == "binding" || subresource == "eviction"
	if !w.applied && !said {
		if err := r.managed.update(k, obj, old, subresource, w.FieldManager); err != nil {
			return nil, nil, err
		}
	}
	rules.prepare(obj, old)
	if err := w.check(obj, old); err != nil {
		return nil, nil, err
	}
	req := &admission.Request{
		Verb: kind.Update, Kind: k, Subresource: subresource, Namespace: old.GetNamespace(), Name: old.GetName(),
		Object: obj, Old: old, DryRun: w.DryRun, User: kind.UserFrom(ctx), Warn: w.warn, FieldManager: w.FieldManager,
	}
	if !w.admitted {
		if err := r.admit(ctx, req); err != nil {
			return nil, nil, err
		}
	}
	if len(r.admission) > 0 {
		if k.Default != nil {
			k.Default(obj)
		}
		rules.prepare(obj, old)
	}
	keepTimes(obj, old)
	if k.Generation && subresource != "status" && !said && contentChanged(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
	if errs := rules.validate(obj, old); len(errs) > 0 {
		return nil, nil, refusedAs(k, obj.GetName(), errs)
	}
	if k.Warnings != nil && subresource == "" {
		for _, text := range k.Warnings(obj, old) {
			w.warn(text)
		}
	}
	if !w.admitted {
		if err := r.admitLast(ctx, req); err != nil {
			return nil, nil, err
		}
	}
	if goesNow(obj) && !w.DryRun {
		return obj, req, errLastFinalizer
	}
	return obj, req, nil
}

// checkPreconditions holds those of a deletion against the object. Kubernetes names the kind where others name the resource.
func checkPreconditions(k *kind.Kind, cur kind.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != cur.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Group: k.Group, Resource: k.Kind}, cur.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, cur.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != cur.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Group: k.Group, Resource: k.Kind}, cur.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, cur.GetResourceVersion()))
	}
	return nil
}
