// Package admissionpolicy keeps the status of ValidatingAdmissionPolicies, by which their authors know that the
// server has seen them as they are.
package admissionpolicy

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// New returns the controller.
func New(c client.Client) loop.Controller {
	return loop.Controller{
		Name: "validatingadmissionpolicy-status", For: kind.Of[*admissionregistrationv1.ValidatingAdmissionPolicy](),
		Reconcile: func(ctx context.Context, key loop.Key) (loop.Result, error) {
			return loop.Result{}, observe(ctx, c, key)
		},
	}
}

func observe(ctx context.Context, c client.Client, key loop.Key) error {
	p, err := client.Get[*admissionregistrationv1.ValidatingAdmissionPolicy](ctx, c, "", key.Name)
	if apierrors.IsNotFound(err) || err == nil && p.Status.ObservedGeneration == p.Generation {
		return nil
	}
	if err != nil {
		return err
	}
	next := p.DeepCopy()
	next.Status.ObservedGeneration = p.Generation
	if _, err := client.UpdateStatus(ctx, c, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot update status of policy %s: %w", key.Name, err)
	}
	return nil
}
