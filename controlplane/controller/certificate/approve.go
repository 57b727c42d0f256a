package certificate

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Approver returns the controller that approves client certificates of nodes for those who have the right: a
// node for itself (certificatesigningrequests/selfnodeclient), or who may make nodes (…/nodeclient). No default
// binding gives either to anybody; everything else waits for a person.
func Approver(c client.Client, allowed admission.Authorizer) loop.Controller {
	r := &approver{client: c, allowed: allowed}
	return loop.Controller{Name: "certificate-approver", For: kind.Of[*request](), Reconcile: r.reconcile}
}

type approver struct {
	client  client.Client
	allowed admission.Authorizer
}

func (r *approver) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	csr, err := client.Get[*request](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName ||
		has(csr, certificatesv1.CertificateApproved) || has(csr, certificatesv1.CertificateDenied) {
		return loop.Result{}, err
	}
	message := r.reason(ctx, csr)
	if message == "" {
		return loop.Result{}, nil
	}
	next := csr.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: message,
	})
	if _, err := r.client.Update(ctx, kind.Of[*request](), next, "approval"); err != nil && !apierrors.IsNotFound(err) {
		return loop.Result{}, fmt.Errorf("cannot approve certificate request %s: %w", csr.Name, err)
	}
	return loop.Result{}, nil
}

// reason says why a request is approved; empty means that it is not.
func (r *approver) reason(ctx context.Context, csr *request) string {
	parsed, err := kind.ParseCertificateRequest(csr.Spec.Request)
	if err != nil || checkNodeClient(parsed, csr.Spec.Usages) != nil {
		return ""
	}
	u := &kind.User{Name: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: map[string][]string{}}
	for k, v := range csr.Spec.Extra {
		u.Extra[k] = v
	}
	may := func(subresource string) bool {
		return r.allowed(ctx, authz.Attributes{User: u, Verb: "create", Group: certificatesv1.GroupName, Version: "*",
			Resource: "certificatesigningrequests", Subresource: subresource, IsResource: true})
	}
	switch {
	case u.Name == parsed.Subject.CommonName && may("selfnodeclient"):
		return "Auto approving self kubelet client certificate after SubjectAccessReview."
	case may("nodeclient"):
		return "Auto approving kubelet client certificate after SubjectAccessReview."
	}
	return ""
}
