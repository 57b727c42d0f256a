package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// NodeTokens is node restriction for the token subresource of service accounts, which writes no object and so passes
// no plug-in.
type NodeTokens struct {
	Client     client.Client
	Authorizer Authorizer
}

// Check says why a user may not have a token of a service account for what it asks. The agent of a node gets tokens that
// are bound to the pods on its node, for audiences that the pod mounts tokens for, or that a role allows it
// (request-serviceaccounts-token-audience, KEP 2718); for all other users it is nil. Pod is the one that the request names.
func (t NodeTokens) Check(ctx context.Context, u *kind.User, account *corev1.ServiceAccount, req *authenticationv1.TokenRequestSpec, pod *corev1.Pod) error {
	node, ok := nodeOf(u)
	switch {
	case !ok:
		return nil
	case pod == nil:
		return errors.New("node requested token not bound to a pod")
	case req.BoundObjectRef.UID == "":
		return errors.New("node requested token with a pod binding without a uid")
	case pod.Spec.NodeName != node:
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	audience := ""
	switch len(req.Audiences) {
	case 0:
	case 1:
		audience = req.Audiences[0]
	default:
		return errors.New("node may only request 0 or 1 audiences")
	}
	mounted, err := t.mounts(ctx, pod, audience)
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", audience, err)
	}
	if mounted || t.Authorizer != nil && t.Authorizer(ctx, authz.Attributes{User: u, Verb: "request-serviceaccounts-token-audience",
		Version: "v1", Resource: audience, Namespace: account.Namespace, Name: account.Name, IsResource: true}) {
		return nil
	}
	return fmt.Errorf("%s is not authorized to request tokens for audience %q", u.Name, audience)
}

// mounts says whether one of the pod's volumes needs a token for the audience. An error matters only when no volume does.
func (t NodeTokens) mounts(ctx context.Context, pod *corev1.Pod, audience string) (bool, error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
		}) {
			return true, nil
		}
		wants, err := t.driverWants(ctx, pod, v, audience)
		if wants {
			return true, nil
		}
		errs = append(errs, err)
	}
	return false, errors.Join(errs...)
}

func (t NodeTokens) driverWants(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, audience string) (bool, error) {
	name, err := t.driver(ctx, pod, v)
	if err != nil || name == "" {
		return false, err
	}
	driver, err := client.Get[*storagev1.CSIDriver](ctx, t.Client, "", name)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(driver.Spec.TokenRequests, func(r storagev1.TokenRequest) bool { return r.Audience == audience }), nil
}

// driver is the name of the driver that mounts the volume, empty when none does.
func (t NodeTokens) driver(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (string, error) {
	var name string
	switch {
	case v.CSI != nil:
		return v.CSI.Driver, nil
	case v.PersistentVolumeClaim != nil:
		name = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		name = pod.Name + "-" + v.Name
	default:
		return "", nil
	}
	claim, err := client.Get[*corev1.PersistentVolumeClaim](ctx, t.Client, pod.Namespace, name)
	if err != nil {
		return "", err
	}
	volume, err := client.Get[*corev1.PersistentVolume](ctx, t.Client, "", claim.Spec.VolumeName)
	if err != nil || volume.Spec.CSI == nil {
		return "", err
	}
	return volume.Spec.CSI.Driver, nil
}
