package registry

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// errChangedMeanwhile says that the object is not the version that was looked at: look again.
var errChangedMeanwhile = errors.New("the object changed meanwhile")

// Delete removes an object, or marks it for the deletion that its grace period and finalizers delay. It
// returns the object's last or new state, and whether it is gone.
func (r *Registry) Delete(ctx context.Context, k *kind.Kind, namespace, name string, opts *metav1.DeleteOptions, w Write) (*store.Item, bool, error) {
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	if len(opts.DryRun) > 0 {
		w.DryRun = true
	}
	cur, err := r.store.Get(ctx, k.StoredKind(), namespace, name, "")
	for {
		if err != nil {
			return nil, false, asStatus(err)
		}
		item, gone, stepErr := r.deleteVersion(ctx, k, cur, opts, w)
		if stepErr == nil {
			item, err = present(ctx, k, item)
			return item, gone, err
		}
		if !errors.Is(stepErr, errChangedMeanwhile) {
			return nil, gone, asStatus(stepErr)
		}
		cur, err = r.store.Get(ctx, k.StoredKind(), namespace, name, "")
	}
}

// deleteVersion deletes the version cur, or returns errChangedMeanwhile when there is a newer one.
func (r *Registry) deleteVersion(ctx context.Context, k *kind.Kind, cur *store.Item, opts *metav1.DeleteOptions, w Write) (*store.Item, bool, error) {
	old := cur.Object
	if err := checkPreconditions(k, old, opts.Preconditions); err != nil {
		return nil, false, err
	}
	shown, err := present(ctx, k, cur)
	if err != nil {
		return nil, false, err
	}
	req := &admission.Request{
		Verb: kind.Delete, Kind: k, Namespace: old.GetNamespace(), Name: old.GetName(), Old: shown.Object,
		DryRun: w.DryRun, User: kind.UserFrom(ctx), Warn: w.warn, FieldManager: w.FieldManager, Delete: opts,
	}
	if !w.admitted {
		if err := r.admit(ctx, req); err != nil {
			return nil, false, err
		}
		if err := r.admitLast(ctx, req); err != nil {
			return nil, false, err
		}
	}
	marked := r.markDeleted(k.StoredKind(), old, opts)
	if goesNow(marked) {
		if w.DryRun {
			return cur, true, nil
		}
		item, err := r.removeUnchanged(ctx, k, cur, w)
		return item, true, err
	}
	if w.DryRun {
		return &store.Item{Object: marked, Revision: cur.Revision}, false, nil
	}
	item, err := r.store.Update(ctx, k.StoredKind(), old.GetNamespace(), old.GetName(), func(now *store.Item) (kind.Object, error) {
		if now.Revision != cur.Revision {
			return nil, errChangedMeanwhile
		}
		return marked, nil
	})
	if err != nil {
		return nil, false, err
	}
	return item, false, nil
}

// removeUnchanged removes the version that was looked at, or returns errChangedMeanwhile.
func (r *Registry) removeUnchanged(ctx context.Context, k *kind.Kind, cur *store.Item, w Write) (*store.Item, error) {
	if w.DryRun {
		return cur, nil
	}
	gone, err := r.store.Delete(ctx, k.StoredKind(), cur.Object.GetNamespace(), cur.Object.GetName(), func(now *store.Item) error {
		if now.Revision != cur.Revision {
			return errChangedMeanwhile
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

// markDeleted returns a copy of old as a deletion leaves it: timestamp, grace period and finalizers.
func (r *Registry) markDeleted(k *kind.Kind, old kind.Object, opts *metav1.DeleteOptions) kind.Object {
	obj := old.DeepCopyObject().(kind.Object)
	begins := obj.GetDeletionTimestamp() == nil
	var grace int64
	if k.GracePeriod != nil {
		grace = k.GracePeriod(old, opts)
	}
	if obj.GetDeletionTimestamp() == nil {
		at := metav1.NewTime(r.now().Add(time.Duration(grace) * time.Second).Truncate(time.Second))
		obj.SetDeletionTimestamp(&at)
		obj.SetDeletionGracePeriodSeconds(&grace)
		if obj.GetGeneration() > 0 {
			obj.SetGeneration(obj.GetGeneration() + 1)
		}
	} else if had := obj.GetDeletionGracePeriodSeconds(); had != nil && grace < *had {
		// a later delete can shorten the grace and never lengthen it
		begun := obj.GetDeletionTimestamp().Add(-time.Duration(*had) * time.Second)
		at := metav1.NewTime(begun.Add(time.Duration(grace) * time.Second))
		obj.SetDeletionTimestamp(&at)
		obj.SetDeletionGracePeriodSeconds(&grace)
	}
	obj.SetFinalizers(propagation(obj.GetFinalizers(), opts))
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
	if begins && k.MarkDeleted != nil {
		k.MarkDeleted(obj)
	}
	return obj
}

// propagation returns the finalizers with those that the options ask for: garbage collection acts on them.
func propagation(finalizers []string, opts *metav1.DeleteOptions) []string {
	var want string
	switch {
	case opts.PropagationPolicy != nil:
		switch *opts.PropagationPolicy {
		case metav1.DeletePropagationForeground:
			want = metav1.FinalizerDeleteDependents
		case metav1.DeletePropagationOrphan:
			want = metav1.FinalizerOrphanDependents
		}
	case opts.OrphanDependents != nil && *opts.OrphanDependents:
		want = metav1.FinalizerOrphanDependents
	case opts.OrphanDependents == nil:
		return finalizers
	}
	kept := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		return f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents
	})
	if want != "" {
		kept = append(kept, want)
	}
	return kept
}

// DeleteCollection deletes what a list selects and returns what it found. Objects that are gone already are
// no error.
func (r *Registry) DeleteCollection(ctx context.Context, k *kind.Kind, q ListQuery, opts *metav1.DeleteOptions, w Write) (*store.List, error) {
	list, err := r.List(ctx, k, q)
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deleteWorkers)
	var warn sync.Mutex
	each := w
	each.Warn = func(text string) {
		warn.Lock()
		defer warn.Unlock()
		w.warn(text)
	}
	for _, item := range list.Items {
		g.Go(func() (err error) {
			defer catch(&err)
			_, _, err = r.Delete(ctx, k, item.Object.GetNamespace(), item.Object.GetName(), opts.DeepCopy(), each)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		rethrow(err)
		return nil, err
	}
	return list, nil
}

// caught is a panic of a worker on its way to the goroutine that recovers from those of requests: in a goroutine of
// its own it would end the process.
type caught struct{ text string }

func (c *caught) Error() string { return c.text }

func catch(err *error) {
	if cause := recover(); cause != nil {
		*err = &caught{fmt.Sprintf("%v\n%s", cause, debug.Stack())}
	}
}

func rethrow(err error) {
	var c *caught
	if errors.As(err, &c) {
		panic(c.text)
	}
}

// deleteWorkers is how many objects of a collection are deleted at once: enough that the store writes them
// together, few enough that other writers get their turn.
const deleteWorkers = 16
