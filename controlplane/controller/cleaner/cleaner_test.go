package cleaner

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
)

func TestTokens(t *testing.T) {
	now := time.Unix(1700000000, 0)
	token := func(name string, kind corev1.SecretType, expires string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-system"}, Type: kind, Data: map[string][]byte{tokenExpires: []byte(expires)}}
	}
	for _, tc := range []struct {
		secret *corev1.Secret
		stays  bool
		after  time.Duration
	}{
		{token("good", tokenType, now.Add(time.Minute).UTC().Format(time.RFC3339)), true, time.Minute},
		{token("expired", tokenType, now.UTC().Format(time.RFC3339)), false, 0},
		{token("credential", credentialType, now.Add(time.Second).UTC().Format(time.RFC3339)), true, time.Second},
		{token("old-credential", credentialType, now.Add(-time.Second).UTC().Format(time.RFC3339)), false, 0},
		{token("unreadable", tokenType, "soon"), false, 0},
		{token("something-else", corev1.SecretTypeOpaque, ""), true, 0},
	} {
		t.Run(tc.secret.Name, func(t *testing.T) {
			c := clienttest.NewFake(tc.secret)
			r := &tokens{client: c, now: func() time.Time { return now }}
			result, err := r.reconcile(t.Context(), loop.KeyOf(tc.secret))
			if err != nil || result.After != tc.after {
				t.Errorf("again after %s, %v", result.After, err)
			}
			if _, err := client.Get[*corev1.Secret](t.Context(), c, "kube-system", tc.secret.Name); (err == nil) != tc.stays {
				t.Errorf("stays: %v", err)
			}
		})
	}
}

func TestLeases(t *testing.T) {
	now := time.Unix(1700000000, 0)
	lease := func(name string, renewed time.Duration) *coordinationv1.Lease {
		at := metav1.NewMicroTime(now.Add(-renewed))
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: corev1.NamespaceNodeLease}, Spec: coordinationv1.LeaseSpec{RenewTime: &at}}
	}
	c := clienttest.NewFake(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "silent"}},
		lease("silent", 2*time.Hour), lease("joining", time.Minute), lease("gone", 2*time.Hour),
	)
	r := &leases{client: c, now: func() time.Time { return now }}
	if _, err := r.reconcile(t.Context(), loop.Key{}); err != nil {
		t.Fatal(err)
	}
	left, err := client.List[*coordinationv1.Lease](t.Context(), c, client.Query{})
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, l := range left {
		if l.Name == "gone" {
			t.Error("the lease of a node that is gone is still there")
		}
	}
}
