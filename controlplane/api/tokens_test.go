package api_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// whoami returns the client's user, or the error.
func whoami(t *testing.T, e *apitest.Env, token string) (authenticationv1.UserInfo, error) {
	t.Helper()
	r, err := e.Kube(e.Token(token)).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

func TestTokens(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	p, err := admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request := func(spec authenticationv1.TokenRequestSpec) (string, error) {
		r, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return r.Status.Token, nil
	}
	ref := func(uid types.UID) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: uid}
	}
	bound, err := request(authenticationv1.TokenRequestSpec{BoundObjectRef: ref(p.UID)})
	if err != nil {
		t.Fatal(err)
	}
	free, err := request(authenticationv1.TokenRequestSpec{})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := request(authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if err != nil {
		t.Fatal(err)
	}
	u, err := whoami(t, e, bound)
	if err != nil || u.Username != "system:serviceaccount:default:default" || u.Extra["authentication.kubernetes.io/pod-name"][0] != "p" {
		t.Fatalf("user of a bound token: %+v, %v", u, err)
	}
	dry, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := whoami(t, e, dry.Status.Token); err != nil || u.Username != "system:serviceaccount:default:default" {
		t.Errorf("user of a dry run's token: %+v, %v", u, err)
	}
	for name, token := range map[string]string{"for another audience": foreign, "changed": bound[:len(bound)-4] + "AAAA", "nonsense": "x.y.z"} {
		if _, err := whoami(t, e, token); !apierrors.IsUnauthorized(err) {
			t.Errorf("token %s: %v", name, err)
		}
	}
	review, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: foreign, Audiences: []string{"vault", "x"}}}, metav1.CreateOptions{})
	if err != nil || !review.Status.Authenticated || len(review.Status.Audiences) != 1 || review.Status.Audiences[0] != "vault" {
		t.Fatalf("review: %+v, %v", review, err)
	}
	if _, err := request(authenticationv1.TokenRequestSpec{BoundObjectRef: ref("another")}); !apierrors.IsConflict(err) {
		t.Errorf("token for another uid: %v", err)
	}
	short := int64(10)
	if _, err := request(authenticationv1.TokenRequestSpec{ExpirationSeconds: &short}); !apierrors.IsInvalid(err) {
		t.Errorf("token of ten seconds: %v", err)
	}
	year := int64(365 * 24 * 3600)
	asked := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &year}}
	long, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", asked, metav1.CreateOptions{})
	if err != nil || *long.Spec.ExpirationSeconds != year || !long.Status.ExpirationTimestamp.After(time.Now().Add(364*24*time.Hour)) {
		t.Errorf("token of a year: %+v, %v", long, err)
	}
	for name, tc := range map[string]struct {
		change func(jwt.MapClaims)
		ok     bool
	}{
		"as it was":       {func(jwt.MapClaims) {}, true},
		"expired":         {func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }, false},
		"not valid yet":   {func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }, false},
		"without an end":  {func(c jwt.MapClaims) { delete(c, "exp") }, false},
		"of other issuer": {func(c jwt.MapClaims) { c["iss"] = "https://other.example" }, false},
	} {
		if _, err := whoami(t, e, signedAnew(t, e, free, tc.change)); (err == nil) != tc.ok || !tc.ok && !apierrors.IsUnauthorized(err) {
			t.Errorf("token %s: %v", name, err)
		}
	}
	zero := int64(0)
	if err := admin.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(t, e, bound); !apierrors.IsUnauthorized(err) {
		t.Errorf("token of a pod that is gone: %v", err)
	}
	if _, err := whoami(t, e, free); err != nil {
		t.Errorf("token of the account alone: %v", err)
	}
	if err := admin.CoreV1().ServiceAccounts("default").Delete(ctx, "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(t, e, free); !apierrors.IsUnauthorized(err) {
		t.Errorf("token of an account that is gone: %v", err)
	}
}

// signedAnew is the token with other claims, and a signature of the cluster's own key.
func signedAnew(t *testing.T, e *apitest.Env, token string, change func(jwt.MapClaims)) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	change(parsed.Claims.(jwt.MapClaims))
	signed, err := parsed.SignedString(e.Keys.ServiceAccountKey)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestTokenEndsWithWhatItIsBoundTo deletes each kind of object that a token may be bound to, or puts another of the
// same name in its place.
func TestTokenEndsWithWhatItIsBoundTo(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	newSecret := func() *corev1.Secret {
		t.Helper()
		s, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	newSecret()
	if _, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for kind, tc := range map[string]struct {
		name   string
		remove func() error
	}{
		"Secret": {"s", func() error {
			err := admin.CoreV1().Secrets("default").Delete(ctx, "s", metav1.DeleteOptions{})
			newSecret()
			return err
		}},
		"Node": {"n", func() error { return admin.CoreV1().Nodes().Delete(ctx, "n", metav1.DeleteOptions{}) }},
	} {
		r, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: kind, APIVersion: "v1", Name: tc.name}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := whoami(t, e, r.Status.Token); err != nil {
			t.Errorf("token of a %s: %v", kind, err)
		}
		if err := tc.remove(); err != nil {
			t.Fatal(err)
		}
		if _, err := whoami(t, e, r.Status.Token); !apierrors.IsUnauthorized(err) {
			t.Errorf("token of a %s that is gone: %v", kind, err)
		}
	}
	for name, ref := range map[string]*authenticationv1.BoundObjectReference{
		"a config map": {Kind: "ConfigMap", APIVersion: "v1", Name: "kube-root-ca.crt"}, "a pod that is not there": {Kind: "Pod", APIVersion: "v1", Name: "none"},
	} {
		_, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{})
		if !apierrors.IsBadRequest(err) && !apierrors.IsNotFound(err) {
			t.Errorf("token for %s: %v", name, err)
		}
	}
}
