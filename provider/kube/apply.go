package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-log/tflog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// objects returns the interface to the objects of the kind in the cluster and namespace of id.
func (k *engine) objects(client *Client, id identity) dynamic.ResourceInterface {
	return client.objects(k.resource, id.namespace)
}

// apply sends the object. A conflict is settled in two cases: force says so, or the plan showed what the other manager
// has made of the field, as drift, and it was this that the user agreed to undo. Every other conflict is an error.
func (k *engine) apply(ctx context.Context, client *Client, id identity, object *unstructured.Unstructured, prior tftypes.Value, versionsChanged, force bool) (*unstructured.Unstructured, error) {
	objects := k.objects(client, id)
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: force}
	live, err := objects.Apply(ctx, id.name, object, options)
	found := conflicts(err)
	if len(found) == 0 || absent(prior) {
		return live, err
	}
	now, getErr := objects.Get(ctx, id.name, metav1.GetOptions{})
	if getErr != nil {
		return nil, getErr
	}
	before := k.part(prior)
	current, refreshErr := k.root.refresh(before, now.Object, false)
	if refreshErr != nil {
		return nil, refreshErr
	}
	shown := func(cause metav1.StatusCause) bool {
		if versionsChanged && k.inWriteOnly(cause.Field) {
			return true
		}
		was, is := k.root.locate(cause.Field, before), k.root.locate(cause.Field, current)
		return was.exact && is.exact && !absent(was.value) && was.value.Equal(is.value)
	}
	for _, cause := range found {
		if !shown(cause) {
			return nil, err
		}
	}
	tflog.Info(ctx, "taking back fields whose drift the plan showed", map[string]any{"object": id.String(), "fields": len(found)})
	options.Force = true
	return objects.Apply(ctx, id.name, object, options)
}

// inWriteOnly reports whether a path of the API is inside a write-only map.
func (k *engine) inWriteOnly(field string) bool {
	for _, w := range k.desc.WriteOnly {
		if len(field) > len(w.Field) && field[:len(w.Field)+1] == "."+w.Field {
			return true
		}
	}
	return false
}

// versionsChanged reports whether a plan sends write-only values again.
func (k *engine) versionsChanged(plan, prior View) bool {
	return slices.ContainsFunc(k.desc.WriteOnly, func(w WriteOnly) bool {
		return !plan.At(w.Version).value.Equal(prior.At(w.Version).value)
	})
}

// expectAbsent makes sure that there is no object before one is created: an apply would silently adopt it. It
// waits for one that is being deleted.
func (k *engine) expectAbsent(ctx context.Context, client *Client, id identity) error {
	live, err := k.objects(client, id).Get(ctx, id.name, metav1.GetOptions{})
	switch {
	case isGone(err):
		return nil
	case err != nil:
		return err
	case live.GetDeletionTimestamp() != nil:
		tflog.Info(ctx, "waiting for the end of the object's deletion", map[string]any{"object": id.String()})
		return k.waitGone(ctx, client, id, live.GetUID(), nil) // a new object needs the name, so nothing else will do
	}
	owner := "It was not made by Terraform."
	if owned, err := ownedFields(live); err == nil && owned != nil {
		owner = "Terraform applied it before: from another configuration, or in a run that was interrupted before it could save its state."
	}
	name := "fairlead_" + snake(k.kind.Kind)
	return &Failure{
		Summary: fmt.Sprintf("Cannot create %s %s: it exists already", k.kindName(), id.local()),
		Detail: fmt.Sprintf("%s\n\nTo manage it here, import it:\n\n  terraform import %s.NAME '%s'\n\nElse choose another name.",
			owner, name, id),
	}
}

// delete deletes the object that the state means, and no other of its name, and returns when it is gone.
func (k *engine) delete(ctx context.Context, client *Client, id identity, uid types.UID) error {
	policy := k.desc.Propagation
	if policy == "" {
		policy = metav1.DeletePropagationBackground
	}
	options := metav1.DeleteOptions{PropagationPolicy: &policy}
	if uid != "" {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err := k.objects(client, id).Delete(ctx, id.name, options)
	switch {
	case isGone(err):
		return nil
	case apierrors.IsConflict(err) && uid != "":
		live, getErr := k.objects(client, id).Get(ctx, id.name, metav1.GetOptions{})
		if isGone(getErr) || getErr == nil && live.GetUID() != uid {
			return nil // somebody deleted ours, and what is there now is not ours
		}
		return err
	case err != nil:
		return err
	}
	return k.waitGone(ctx, client, id, uid, k.desc.Abandoned)
}

// abandoned is a deletion that is done but for what the cluster can not do for now; left names that.
type abandoned struct{ left string }

func (a *abandoned) Error() string { return a.left }

// A deletion is looked at every 50 ms at first and then ever more seldom, since most are done at once.
const (
	goneFirst = 50 * time.Millisecond
	goneMost  = 2 * time.Second
)

// waitGone returns when the object with uid does not exist any more; the empty uid means any object of the name. It
// returns an *abandoned as soon as left names something.
func (k *engine) waitGone(ctx context.Context, client *Client, id identity, uid types.UID, left func(context.Context, *Client, *unstructured.Unstructured) (string, error)) error {
	var last *unstructured.Unstructured
	for gap := goneFirst; ; gap = min(gap*3/2, goneMost) {
		live, err := k.objects(client, id).Get(ctx, id.name, metav1.GetOptions{})
		switch {
		case isGone(err) || err == nil && uid != "" && live.GetUID() != uid:
			return nil
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil:
			last = live
		}
		if last != nil && left != nil && gap == goneMost { // most deletions have ended by then
			what, err := left(ctx, client, last)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if what != "" {
				return &abandoned{what}
			}
		}
		timer := time.NewTimer(gap)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return k.stillThere(id, last, ctx.Err())
		}
	}
}

// stillThere says what holds up a deletion.
func (k *engine) stillThere(id identity, live *unstructured.Unstructured, cause error) error {
	if !errors.Is(cause, context.DeadlineExceeded) || live == nil {
		return cause
	}
	detail := "The deletion was accepted and has not ended in time."
	if finalizers := live.GetFinalizers(); len(finalizers) > 0 {
		detail += fmt.Sprintf(" It waits for what removes these finalizers: %v.", finalizers)
	}
	if k.desc.ExplainDelete != nil {
		detail += "\n\n" + k.desc.ExplainDelete(live)
	}
	return &Failure{Summary: fmt.Sprintf("Cannot delete %s %s in time", k.kindName(), id.local()), Detail: detail}
}
