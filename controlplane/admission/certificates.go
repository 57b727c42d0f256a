package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Authorizer says whether a user may do something.
type Authorizer func(ctx context.Context, at authz.Attributes) bool

// mayUse asks whether the sender may approve or sign for a signer, by its name or by its domain's "*".
func (a Authorizer) mayUse(ctx context.Context, u *kind.User, verb, signer string) bool {
	if u == nil { // the server itself
		return true
	}
	if a == nil {
		return false
	}
	domain, _, _ := strings.Cut(signer, "/")
	return slices.ContainsFunc([]string{signer, domain + "/*"}, func(name string) bool {
		return a(ctx, authz.Attributes{User: u, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name, IsResource: true})
	})
}

// certificateApproval asks of who approves or denies a certificate request that they may approve for its signer.
type certificateApproval struct {
	silent
	allowed Authorizer
}

func (*certificateApproval) Name() string { return "CertificateApproval" }

func (p *certificateApproval) Validate(ctx context.Context, r *Request) error {
	old, ok := r.Old.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Verb != kind.Update || r.Subresource != "approval" || p.allowed.mayUse(ctx, r.User, "approve", old.Spec.SignerName) {
		return nil
	}
	return forbidden(r, fmt.Errorf("user not permitted to approve requests with signerName %q", old.Spec.SignerName))
}

// certificateSigning asks of who issues a certificate, or says that there will be none, that they may sign for
// the request's signer.
type certificateSigning struct {
	silent
	allowed Authorizer
}

func (*certificateSigning) Name() string { return "CertificateSigning" }

func (p *certificateSigning) Validate(ctx context.Context, r *Request) error {
	old, ok := r.Old.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Verb != kind.Update || r.Subresource != "status" {
		return nil
	}
	if apiequality.Semantic.DeepEqual(old.Status, r.Object.(*certificatesv1.CertificateSigningRequest).Status) ||
		p.allowed.mayUse(ctx, r.User, "sign", old.Spec.SignerName) {
		return nil
	}
	return forbidden(r, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
}

// certificateSubject refuses requests for a client certificate that would make its owner an administrator whom
// no role can hold back.
type certificateSubject struct{ silent }

func (*certificateSubject) Name() string { return "CertificateSubjectRestriction" }

func (*certificateSubject) Validate(_ context.Context, r *Request) error {
	request, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Verb != kind.Create || request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := kind.ParseCertificateRequest(request.Spec.Request)
	if err != nil {
		return forbidden(r, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(parsed.Subject.Organization, "system:masters") {
		return forbidden(r, fmt.Errorf("use of %s signer with system:masters group is not allowed", certificatesv1.KubeAPIServerClientSignerName))
	}
	return nil
}
