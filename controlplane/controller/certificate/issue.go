package certificate

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
)

// The bounds of a certificate's life. Who asks for less than minLife gets minLife: certificates begin some
// minutes before now.
const (
	maxLife = 365 * 24 * time.Hour
	minLife = 10 * time.Minute
)

// Signer is the authority that certificates are issued by; *pki.Authority is one.
type Signer interface {
	Issue(req *x509.CertificateRequest, usage pki.Usage, life time.Duration) ([]byte, error)
}

// Issuer returns the controller that issues approved certificates of the signers kubernetes.io/kube-apiserver-client,
// kube-apiserver-client-kubelet and kubelet-serving.
func Issuer(c client.Client, s Signer) loop.Controller {
	r := &issuer{client: c, signer: s}
	return loop.Controller{Name: "certificate-signer", For: kind.Of[*request](), Reconcile: r.reconcile}
}

type issuer struct {
	client client.Client
	signer Signer
}

func (r *issuer) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	csr, err := client.Get[*request](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	check := checks[csr.Spec.SignerName]
	if check == nil || len(csr.Status.Certificate) > 0 || !has(csr, certificatesv1.CertificateApproved) ||
		has(csr, certificatesv1.CertificateDenied) || has(csr, certificatesv1.CertificateFailed) {
		return loop.Result{}, nil
	}
	parsed, err := kind.ParseCertificateRequest(csr.Spec.Request)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		return loop.Result{}, fmt.Errorf("cannot parse certificate request %s: %w", csr.Name, err)
	}
	next := csr.DeepCopy()
	if err := check(parsed, csr.Spec.Usages); err != nil {
		next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(),
		})
	} else if next.Status.Certificate, err = r.signer.Issue(parsed, usageOf(csr.Spec.Usages), life(csr.Spec.ExpirationSeconds)); err != nil {
		return loop.Result{}, err
	}
	if _, err := r.client.Update(ctx, kind.Of[*request](), next, "status"); err != nil && !apierrors.IsNotFound(err) {
		return loop.Result{}, fmt.Errorf("cannot write status of certificate request %s: %w", csr.Name, err)
	}
	return loop.Result{}, nil
}

func life(seconds *int32) time.Duration {
	if seconds == nil {
		return maxLife
	}
	return min(max(time.Duration(*seconds)*time.Second, minLife), maxLife)
}

// usageOf translates the usages that the checks let through.
func usageOf(usages []certificatesv1.KeyUsage) pki.Usage {
	var out pki.Usage
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature:
			out.Key |= x509.KeyUsageDigitalSignature
		case certificatesv1.UsageKeyEncipherment:
			out.Key |= x509.KeyUsageKeyEncipherment
		case certificatesv1.UsageClientAuth:
			out.Extended = append(out.Extended, x509.ExtKeyUsageClientAuth)
		case certificatesv1.UsageServerAuth:
			out.Extended = append(out.Extended, x509.ExtKeyUsageServerAuth)
		}
	}
	return out
}
