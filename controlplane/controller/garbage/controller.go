// Package garbage deletes objects whose owners are gone, and carries out the deletions that wait for dependents
// (foreground) or let them be (orphan).
package garbage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const workers = 8

type controller struct {
	client client.Client
	kinds  *kind.Table
	graph  *graph
}

// New returns the controller for all kinds of the table. Keys are UIDs.
func New(c client.Client, kinds *kind.Table) loop.Controller {
	r := &controller{client: c, kinds: kinds, graph: newGraph()}
	ctl := loop.Controller{Name: "garbage", Workers: workers, Reconcile: r.reconcile}
	ctl.Each = &loop.Each{Kinds: kinds, Keys: func(k *kind.Kind) func(client.Event) []loop.Key {
		return func(e client.Event) []loop.Key { return r.graph.note(k.GroupResource(), e) }
	}}
	return ctl
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	uid := types.UID(key.Name)
	at, ok := r.graph.find(uid)
	if !ok {
		return loop.Result{}, nil
	}
	k := r.kinds.ByGroupResource(at.resource)
	if k == nil {
		return loop.Result{}, nil
	}
	obj, err := r.client.Get(ctx, k, at.Namespace, at.Name)
	if apierrors.IsNotFound(err) || err == nil && obj.GetUID() != uid {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	if obj.GetDeletionTimestamp() != nil {
		if slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents) {
			return loop.Result{}, r.orphan(ctx, k, obj)
		}
		if slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents) {
			return loop.Result{}, r.foreground(ctx, k, obj)
		}
		return loop.Result{}, nil
	}
	return loop.Result{}, r.collect(ctx, k, obj)
}

// owners is what became of an object's owners.
type owners struct {
	solid   []metav1.OwnerReference // they exist
	absent  []metav1.OwnerReference
	waiting []metav1.OwnerReference // they are being deleted and wait for the object
}

// verdict is what an object's owners mean for it.
type verdict int

const (
	keep       verdict = iota
	disown             // take the references to absent and waiting owners away
	deleteNow          // in the way that the object's own finalizers ask for, else in the background
	deleteDeep         // dependents first, since an owner waits for all of them
)

// judge decides over an object from its owners; dependents says whether it has any itself.
func judge(o owners, dependents bool) verdict {
	switch {
	case len(o.solid) > 0 && len(o.absent)+len(o.waiting) > 0:
		return disown
	case len(o.solid) > 0 || len(o.absent)+len(o.waiting) == 0:
		return keep
	case len(o.waiting) > 0 && dependents:
		return deleteDeep
	default:
		return deleteNow
	}
}

func (r *controller) collect(ctx context.Context, k *kind.Kind, obj kind.Object) error {
	o, err := r.owners(ctx, obj)
	if err != nil {
		return err
	}
	var dependents []dependent
	if len(o.solid) == 0 && len(o.waiting) > 0 {
		if dependents, err = r.dependents(ctx, obj); err != nil {
			return err
		}
	}
	policy := metav1.DeletePropagationBackground
	switch judge(o, len(dependents) > 0) {
	case keep:
		return nil
	case disown:
		return r.keepOwners(ctx, k, obj, o.solid)
	case deleteDeep:
		if slices.ContainsFunc(dependents, func(d dependent) bool { return waitsForDependents(d.Object) }) {
			// Most likely a circle of owners: each would wait for the next.
			if obj, err = r.unblock(ctx, k, obj); obj == nil || err != nil {
				return err
			}
		}
		policy = metav1.DeletePropagationForeground
	case deleteNow:
		if slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents) {
			policy = metav1.DeletePropagationOrphan
		} else if slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents) {
			policy = metav1.DeletePropagationForeground
		}
	}
	// the resourceVersion too: an owner that was added since this look must save the object
	uid, rv := obj.GetUID(), obj.GetResourceVersion()
	err = r.client.Delete(ctx, k, obj.GetNamespace(), obj.GetName(), metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &rv},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete %s %s/%s: %w", k.Singular, obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

func (r *controller) owners(ctx context.Context, obj kind.Object) (owners, error) {
	var out owners
	for _, ref := range obj.GetOwnerReferences() {
		owner, err := r.owner(ctx, obj, ref)
		switch {
		case err != nil:
			return owners{}, err
		case owner == nil:
			out.absent = append(out.absent, ref)
		case waitsForDependents(owner) && edgeOf(ref).blocks:
			out.waiting = append(out.waiting, ref)
		default:
			out.solid = append(out.solid, ref)
		}
	}
	return out, nil
}

// unknown stands for owners of kinds that this server does not have. They count as there: nothing is deleted
// on the word of an object that nobody can look up.
var unknown kind.Object = &metav1.PartialObjectMetadata{}

// owner returns the owner that ref names, nil when there is none (any more).
func (r *controller) owner(ctx context.Context, obj kind.Object, ref metav1.OwnerReference) (kind.Object, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return unknown, nil
	}
	k := r.kinds.ByKind(gv.WithKind(ref.Kind))
	if k == nil {
		return unknown, nil
	}
	k = k.StoredKind()
	namespace := ""
	if k.Namespaced {
		if namespace = obj.GetNamespace(); namespace == "" {
			return unknown, nil // an object of the cluster can not have an owner in a namespace
		}
	}
	owner, err := r.client.Get(ctx, k, namespace, ref.Name)
	if apierrors.IsNotFound(err) || err == nil && owner.GetUID() != ref.UID {
		return nil, nil
	}
	return owner, err
}

// dependent is an object that names another as its owner.
type dependent struct {
	kind.Object
	kind *kind.Kind
}

// dependents asks the API, not the graph, which may not know of the newest yet.
func (r *controller) dependents(ctx context.Context, owner kind.Object) ([]dependent, error) {
	var out []dependent
	for _, k := range r.kinds.Kinds() {
		if k.Indexes[kind.OwnerIndex] == nil {
			continue
		}
		list, err := r.client.List(ctx, k, client.Query{Namespace: owner.GetNamespace(), Index: kind.OwnerIndex, Value: string(owner.GetUID())})
		if err != nil {
			return nil, fmt.Errorf("cannot list %s owned by %s: %w", k.Plural, owner.GetName(), err)
		}
		for _, obj := range list {
			out = append(out, dependent{obj, k})
		}
	}
	return out, nil
}

// foreground deletes what owner owns, and lets owner go when nothing that blocks its deletion is left.
func (r *controller) foreground(ctx context.Context, k *kind.Kind, owner kind.Object) error {
	list, err := r.dependents(ctx, owner)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(d dependent) bool { return blocks(d, owner) }) {
		return r.removeFinalizer(ctx, k, owner, metav1.FinalizerDeleteDependents)
	}
	return loop.Parallel(len(list), func(i int) error {
		if list[i].GetDeletionTimestamp() != nil {
			return nil
		}
		return r.collect(ctx, list[i].kind, list[i].Object)
	})
}

func blocks(d dependent, owner kind.Object) bool {
	return slices.ContainsFunc(d.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return edgeOf(ref) == edge{owner.GetUID(), true}
	})
}

// orphan takes owner off all that it owns, and then lets it go.
func (r *controller) orphan(ctx context.Context, k *kind.Kind, owner kind.Object) error {
	list, err := r.dependents(ctx, owner)
	if err != nil {
		return err
	}
	err = loop.Parallel(len(list), func(i int) error {
		err := loop.Release(ctx, r.client, list[i].kind, owner.GetUID(), list[i].Object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.removeFinalizer(ctx, k, owner, metav1.FinalizerOrphanDependents)
}

func (r *controller) removeFinalizer(ctx context.Context, k *kind.Kind, obj kind.Object, finalizer string) error {
	left := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return f == finalizer })
	if left == nil {
		left = []string{}
	}
	_, err := r.patch(ctx, k, obj, map[string]any{"finalizers": left})
	return err
}

func (r *controller) keepOwners(ctx context.Context, k *kind.Kind, obj kind.Object, refs []metav1.OwnerReference) error {
	_, err := r.patch(ctx, k, obj, map[string]any{"ownerReferences": refs})
	return err
}

// unblock lets no owner wait for obj any more, and returns obj as it is then; nil when it is gone.
func (r *controller) unblock(ctx context.Context, k *kind.Kind, obj kind.Object) (kind.Object, error) {
	refs := slices.Clone(obj.GetOwnerReferences())
	for i := range refs {
		refs[i].BlockOwnerDeletion = new(bool)
	}
	return r.patch(ctx, k, obj, map[string]any{"ownerReferences": refs})
}

// patch changes metadata of exactly the version that was looked at, and returns the next one; nil when the object is gone.
func (r *controller) patch(ctx context.Context, k *kind.Kind, obj kind.Object, metadata map[string]any) (kind.Object, error) {
	metadata["uid"], metadata["resourceVersion"] = obj.GetUID(), obj.GetResourceVersion()
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, fmt.Errorf("cannot encode patch: %w", err)
	}
	next, err := r.client.Patch(ctx, k, obj.GetNamespace(), obj.GetName(), types.MergePatchType, data, "")
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot patch %s %s/%s: %w", k.Singular, obj.GetNamespace(), obj.GetName(), err)
	}
	return next, nil
}
