// Package cleaner removes what has outlived its use: join tokens and credentials that have expired, and leases of nodes that
// are gone.
package cleaner

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	// tokenType and credentialType are how packages join and credential store what expires, and tokenExpires is
	// where they say when.
	tokenType      corev1.SecretType = "fairlead.io/join-token"
	credentialType corev1.SecretType = "fairlead.io/credential"
	tokenExpires                     = "expires"

	leasesEvery = 10 * time.Minute
	// leaseIdle is how long a lease without a node must not have been renewed: a node takes its lease before or
	// after it registers itself.
	leaseIdle = time.Hour
)

// Tokens returns the controller that removes expired join tokens and credentials.
func Tokens(c client.Client) loop.Controller {
	r := &tokens{client: c, now: time.Now}
	return loop.Controller{
		Name: "token-cleaner", Reconcile: r.reconcile,
		Also: []loop.Source{{Kind: kind.Of[*corev1.Secret](), Keys: func(e client.Event) []loop.Key {
			if e.Type == watch.Deleted || !expiring(e.Object.(*corev1.Secret)) {
				return nil
			}
			return []loop.Key{loop.KeyOf(e.Object)}
		}}},
	}
}

type tokens struct {
	client client.Client
	now    func() time.Time
}

func (r *tokens) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	if key.Namespace != metav1.NamespaceSystem {
		return loop.Result{}, nil
	}
	s, err := client.Get[*corev1.Secret](ctx, r.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil || !expiring(s) {
		return loop.Result{}, err
	}
	if left := expiresIn(s, r.now()); left > 0 {
		return loop.Result{After: left}, nil
	}
	err = client.Delete[*corev1.Secret](ctx, r.client, s.Namespace, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return loop.Result{}, fmt.Errorf("cannot delete expired %s: %w", s.Name, err)
	}
	return loop.Result{}, nil
}

func expiring(s *corev1.Secret) bool { return s.Type == tokenType || s.Type == credentialType }

// expiresIn returns how long a token is still good; one whose end can not be read is good no more.
func expiresIn(s *corev1.Secret, now time.Time) time.Duration {
	at, err := time.Parse(time.RFC3339, string(s.Data[tokenExpires]))
	if err != nil {
		return 0
	}
	return at.Sub(now)
}

// Leases returns the controller that removes leases of nodes that are gone.
func Leases(c client.Client) loop.Controller {
	r := &leases{client: c, now: time.Now}
	return loop.Controller{Name: "lease-cleaner", Initial: []loop.Key{{Name: "leases"}}, Reconcile: r.reconcile}
}

type leases struct {
	client client.Client
	now    func() time.Time
}

func (r *leases) reconcile(ctx context.Context, _ loop.Key) (loop.Result, error) {
	list, err := client.List[*coordinationv1.Lease](ctx, r.client, client.Query{Namespace: corev1.NamespaceNodeLease})
	if err != nil {
		return loop.Result{}, err
	}
	for _, l := range list {
		_, err := client.Get[*corev1.Node](ctx, r.client, "", l.Name)
		if err == nil || !idle(l, r.now()) {
			continue
		}
		if !apierrors.IsNotFound(err) {
			return loop.Result{}, err
		}
		err = client.Delete[*coordinationv1.Lease](ctx, r.client, l.Namespace, l.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return loop.Result{}, fmt.Errorf("cannot delete lease %s of a node that is gone: %w", l.Name, err)
		}
	}
	return loop.Result{After: leasesEvery}, nil
}

func idle(l *coordinationv1.Lease, now time.Time) bool {
	renewed := l.CreationTimestamp.Time
	if l.Spec.RenewTime != nil {
		renewed = l.Spec.RenewTime.Time
	}
	return now.Sub(renewed) >= leaseIdle
}
