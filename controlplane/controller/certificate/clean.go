package certificate

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

// How long requests are kept after they were decided, and how long undecided ones wait.
const (
	keepDecided = time.Hour
	keepPending = 24 * time.Hour
)

// Cleaner returns the controller that removes requests which have served: issued, denied or failed an hour ago,
// not decided for a day, or with a certificate that has expired.
func Cleaner(c client.Client) loop.Controller {
	r := &cleaner{client: c, now: time.Now}
	return loop.Controller{Name: "certificate-cleaner", For: kind.Of[*request](), Reconcile: r.reconcile}
}

type cleaner struct {
	client client.Client
	now    func() time.Time
}

func (r *cleaner) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	csr, err := client.Get[*request](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	if left := goesAt(csr).Sub(r.now()); left > 0 {
		return loop.Result{After: left}, nil
	}
	err = client.Delete[*request](ctx, r.client, "", csr.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &csr.UID, ResourceVersion: &csr.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return loop.Result{}, fmt.Errorf("cannot delete certificate request %s: %w", csr.Name, err)
	}
	return loop.Result{}, nil
}

// goesAt is when a request has served. One that is approved and not issued waits for its signer.
func goesAt(r *request) time.Time {
	decided := r.CreationTimestamp.Add(keepPending)
	approved, ended := false, len(r.Status.Certificate) > 0
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			ended = true
		default:
			continue
		}
		decided = c.LastUpdateTime.Add(keepDecided)
	}
	if approved && !ended {
		return r.CreationTimestamp.Add(maxLife)
	}
	if cert, err := certs.ParseCertificate(r.Status.Certificate); err == nil && cert.NotAfter.Before(decided) {
		return cert.NotAfter
	}
	return decided
}
