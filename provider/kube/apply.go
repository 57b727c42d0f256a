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
		w := &goneWait{engine: k, client: client, id: id, uid: live.GetUID(), forName: true}
		return w.run(ctx)
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
	w := &goneWait{engine: k, client: client, id: id, uid: uid}
	return w.run(ctx)
}

// abandoned is a deletion that is done but for what the cluster can not do for now; left names that.
type abandoned struct{ left string }

func (a *abandoned) Error() string { return a.left }

// A deletion is looked at every 50 ms at first and then ever more seldom, since most are done at once.
const (
	goneFirst = 50 * time.Millisecond
	goneMost  = 2 * time.Second
)

// goneWait waits for the end of an object that is being deleted.
type goneWait struct {
	*engine
	client *Client
	id     identity
	uid    types.UID // of the object; empty means any object of the name
	// forName says that the name is wanted for a new object, so that nothing but the end of the old one will do. Else
	// the wait ends as well, with *abandoned, when what is left is what the cluster can not end for now.
	forName bool

	last *unstructured.Unstructured // as it was seen last
	left string                     // what Abandoned said last
}

// run returns when the object does not exist any more.
func (w *goneWait) run(ctx context.Context) error {
	if w.forName {
		tflog.Info(ctx, "waiting for the end of the object's deletion", map[string]any{"object": w.id.String()})
	}
	for gap := goneFirst; ; gap = min(gap*3/2, goneMost) {
		live, err := w.objects(w.client, w.id).Get(ctx, w.id.name, metav1.GetOptions{})
		switch {
		case isGone(err) || err == nil && w.uid != "" && live.GetUID() != w.uid:
			return nil
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil:
			w.last = live
		}
		if gap == goneMost { // most deletions have ended by then
			if err := w.look(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		timer := time.NewTimer(gap)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return w.stillThere(ctx.Err())
		}
	}
}

// look asks what is left, and ends the wait for it with *abandoned where that is allowed.
func (w *goneWait) look(ctx context.Context) error {
	if w.last == nil || w.desc.Abandoned == nil {
		return nil
	}
	left, err := w.desc.Abandoned(ctx, w.client, w.last)
	if err != nil {
		return err
	}
	if left != "" && !w.forName {
		return &abandoned{left}
	}
	if left != w.left {
		tflog.Info(ctx, "the object's deletion waits", map[string]any{"object": w.id.String(), "left": left})
	}
	w.left = left
	return nil
}

// stillThere says what holds up the deletion.
func (w *goneWait) stillThere(cause error) error {
	if !errors.Is(cause, context.DeadlineExceeded) || w.last == nil {
		return cause
	}
	what := fmt.Sprintf("%s %s", w.kindName(), w.id.local())
	f := &Failure{Summary: fmt.Sprintf("Cannot delete %s in time", what), Detail: "The deletion was accepted and has not ended in time."}
	if w.forName {
		f.Summary = fmt.Sprintf("Cannot create %s in time: the one before it is still being deleted", what)
		f.Detail = "There can be a new one when the old one is gone, and its deletion has not ended in time."
	}
	if finalizers := w.last.GetFinalizers(); len(finalizers) > 0 {
		f.Detail += fmt.Sprintf(" It waits for what removes these finalizers: %v.", finalizers)
	}
	switch {
	case w.left != "":
		f.Detail += "\n\n" + w.left
	case w.desc.ExplainDelete != nil:
		f.Detail += "\n\n" + w.desc.ExplainDelete(w.last)
	}
	if w.forName {
		f.Detail += "\n\nNothing was created. The next apply waits again, and creates it then; timeouts = { create = \"…\" } lets one wait longer."
	}
	return f
}
