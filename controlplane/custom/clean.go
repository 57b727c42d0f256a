package custom

import (
	"context"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// clean deletes the objects of a definition that is being deleted, and lets the definition go when none is left.
func (d *Definitions) clean(ctx context.Context, key loop.Key) (loop.Result, error) {
	crd, err := client.Get[*apiextensionsv1.CustomResourceDefinition](ctx, d.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil || crd.DeletionTimestamp == nil || !slices.Contains(crd.Finalizers, kind.CleanupFinalizer) {
		return loop.Result{}, err
	}
	left, err := d.empty(ctx, crd)
	if err != nil || left > 0 {
		reason, message := "InstanceDeletionInProgress", fmt.Sprintf("CustomResource deletion is in progress; %d instances remain", left)
		if err != nil {
			reason, message = "InstanceDeletionFailed", fmt.Sprintf("could not list or delete instances: %v", err)
		}
		if statusErr := d.terminating(ctx, crd, reason, message); err == nil {
			err = statusErr
		}
		return loop.Result{After: lookAgain}, err
	}
	next := crd.DeepCopy()
	setCondition(next, cleaned(crd))
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == kind.CleanupFinalizer })
	_, err = client.UpdateStatus(ctx, d.client, next)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return loop.Result{}, err
}

// cleaned says why a definition needs its objects' finalizer no more.
func cleaned(crd *apiextensionsv1.CustomResourceDefinition) apiextensionsv1.CustomResourceDefinitionCondition {
	c := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse}
	switch {
	case overlapsBuiltin(crd):
		c.Reason, c.Message = "OverlappingBuiltInResource", "instances overlap with built-in resources in storage"
	case !kind.Established(crd):
		c.Reason, c.Message = "NeverEstablished", "resource was never established"
	default:
		c.Reason, c.Message = "InstanceDeletionCompleted", "removed all instances"
	}
	return c
}

// empty deletes the objects and returns how many are left for now.
func (d *Definitions) empty(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (int, error) {
	if !kind.Established(crd) || overlapsBuiltin(crd) {
		return 0, nil // it never was served
	}
	// from here on no new objects are taken
	if err := d.define(ctx, crd); err != nil {
		return 0, err
	}
	d.mu.Lock()
	served := d.served[crd.Name]
	d.mu.Unlock()
	if served == nil {
		return 0, nil
	}
	objs, err := d.client.List(ctx, served.stored, client.Query{})
	if err != nil {
		return 0, err
	}
	err = loop.Parallel(len(objs), func(i int) error {
		obj := objs[i]
		if obj.GetDeletionTimestamp() != nil {
			return nil
		}
		err := d.client.Delete(ctx, served.stored, obj.GetNamespace(), obj.GetName(), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	objs, err = d.client.List(ctx, served.stored, client.Query{})
	return len(objs), err
}

func (d *Definitions) terminating(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, reason, message string) error {
	next := crd.DeepCopy()
	setCondition(next, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: reason, Message: message,
	})
	if apiequality.Semantic.DeepEqual(next.Status, crd.Status) {
		return nil
	}
	_, err := client.UpdateStatus(ctx, d.client, next)
	return err
}
