package acctest

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// testKubeconfig looks at the tokens of the ephemeral kubeconfig, which the configuration hands on in a Secret: one is
// revoked when the run ends, and one that is to outlive it is good until it is revoked by hand.
func (s *standing) testKubeconfig(t *testing.T) {
	if u, _, err := s.ci(t); !apierrors.IsUnauthorized(err) {
		t.Errorf("the token of a run that has ended is %+v, %v", u, err)
	}
	if err := s.Set(map[string]any{"keep_token": true}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	u, id, err := s.ci(t)
	if err != nil || u.Username != "ci" || !slices.Contains(u.Groups, "deployers") {
		t.Errorf("a token that is kept is %+v, %v", u, err)
	}
	for _, verb := range []string{"renew", "revoke"} {
		command(t, s.control, "fairlead credential "+verb+" "+id)
	}
	if _, _, err := s.ci(t); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token that was revoked: %v", err)
	}
	if err := s.Set(map[string]any{"keep_token": false}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	planEmpty(t, s.Workspace)
}

// ci returns whom the token stands for that the Secret has, and its id.
func (s *standing) ci(t *testing.T) (u authenticationv1.UserInfo, id string, err error) {
	t.Helper()
	secret, err := s.clients.CoreV1().Secrets(namespace).Get(t.Context(), web, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = string(secret.Data["CI"])
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review, err := clients.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return u, "", err
	}
	_, rest, _ := strings.Cut(config.BearerToken, ".")
	id, _, _ = strings.Cut(rest, ".")
	return review.Status.UserInfo, id, nil
}
