package api_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/credential"
)

func TestCredentials(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	secrets := e.Kube(e.Admin()).CoreV1().Secrets("kube-system")
	// open stores a credential of ops, made at a time, with the record changed on the way.
	open := func(at time.Time, change func(*corev1.Secret)) (id, token string) {
		t.Helper()
		id, token, record, err := credential.New(e.Keys.Authority, "ops", []string{"team"}, time.Minute, time.Hour, at)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(record)
		}
		if _, err := secrets.Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return id, token
	}
	now := time.Now()
	id, token := open(now, nil)
	u, err := whoami(t, e, token)
	if err != nil || u.Username != "ops" || !slices.Equal(u.Groups, []string{"team", "system:authenticated"}) ||
		!slices.Equal(u.Extra["authentication.kubernetes.io/credential-id"], []string{"FAIRLEAD=" + id}) {
		t.Fatalf("user of a credential: %+v, %v", u, err)
	}

	_, expired := open(now.Add(-time.Minute), nil)
	late, renewed := open(now.Add(-59*time.Minute), func(s *corev1.Secret) { s.Data["expires"] = []byte(now.Add(time.Second).UTC().Format(time.RFC3339)) })
	_, ended := open(now.Add(-time.Hour), func(s *corev1.Secret) { s.Data["expires"] = []byte(now.Add(time.Hour).UTC().Format(time.RFC3339)) })
	_, forged := open(now, func(s *corev1.Secret) {
		s.Data["claims"] = bytes.Replace(s.Data["claims"], []byte("team"), []byte("root"), 1)
	})
	_, typed := open(now, func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })
	_, other := open(now, nil)
	for name, token := range map[string]string{
		"expired": expired, "ended, whatever it says": ended, "forged": forged, "in a Secret of another type": typed,
		"with another's key": token[:strings.LastIndex(token, ".")] + other[strings.LastIndex(other, "."):],
		"unknown":            "fairlead-credential.0000000000000000.00", "cut off": "fairlead-credential.",
	} {
		if _, err := whoami(t, e, token); !apierrors.IsUnauthorized(err) {
			t.Errorf("a credential that is %s: %v", name, err)
		}
	}

	record, err := secrets.Get(t.Context(), credential.SecretName(late), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	to, err := credential.Extend(record, 10*time.Minute, now)
	if err != nil || to.After(now.Add(time.Minute)) {
		t.Fatalf("a credential of an hour that is renewed in its last minute is good until %v, %v", to, err)
	}
	if _, err := secrets.Update(t.Context(), record, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(t, e, renewed); err != nil {
		t.Errorf("a renewed credential: %v", err)
	}
	if _, err := credential.Extend(record, time.Minute, now.Add(time.Hour)); err == nil {
		t.Error("an expired credential was renewed")
	}

	for audience, good := range map[string]bool{"": true, "vault": false} {
		spec := authenticationv1.TokenReviewSpec{Token: token}
		if audience != "" {
			spec.Audiences = []string{audience}
		}
		review, err := e.Kube(e.Admin()).AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: spec}, metav1.CreateOptions{})
		if err != nil || review.Status.Authenticated != good {
			t.Errorf("review for the audience %q: %+v, %v", audience, review.Status, err)
		}
	}

	if err := secrets.Delete(t.Context(), credential.SecretName(id), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(t, e, token); !apierrors.IsUnauthorized(err) {
		t.Errorf("a revoked credential: %v", err)
	}
}
