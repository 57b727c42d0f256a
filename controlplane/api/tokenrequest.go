package api

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func compare(a, b string) int { return cmp.Compare(a, b) }

func base64URL(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// The bounds of a token's life, in seconds.
const (
	defaultTokenSeconds = 3600
	minTokenSeconds     = 600
	maxTokenSeconds     = 1 << 32
)

var tokenRequestKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// issueToken serves serviceaccounts/NAME/token.
func (s *Server) issueToken(w http.ResponseWriter, r *request) error {
	req := &authenticationv1.TokenRequest{}
	o, err := readVirtual(r, req, tokenRequestKind, true)
	if err != nil {
		return err
	}
	if req.Spec.ExpirationSeconds == nil {
		req.Spec.ExpirationSeconds = new(int64(defaultTokenSeconds))
	}
	if err := s.own(req, "token", o.FieldManager); err != nil {
		return err
	}
	account, err := s.tokenAccount(r, req)
	if err != nil {
		return err
	}
	body := &admission.Body{Kind: tokenRequestKind, Object: req}
	if err := s.registry.AdmitBody(r.Context(), kind.Create, r.kind, r.namespace, r.name, "token", body, o); err != nil {
		return err
	}
	g, err := s.grantOf(r, req, account)
	if err != nil {
		return err
	}
	req.CreationTimestamp = metav1.Now()
	req.Spec.Audiences, req.Spec.ExpirationSeconds = g.audiences, &g.seconds
	// A dry run gets its token too, as in Kubernetes: nothing is stored of one.
	token, expires, err := s.tokens.issue(g, s.now())
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	req.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	s.answer(w, r, http.StatusCreated, req)
	return nil
}

// tokenAccount returns the account that a token is asked for, which the request may name by its name and uid, and then does.
func (s *Server) tokenAccount(r *request, req *authenticationv1.TokenRequest) (*corev1.ServiceAccount, error) {
	if req.Name != "" && req.Name != r.name {
		return nil, apierrors.NewInvalid(tokenRequestKind.GroupKind(), r.name, field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), req.Name, "must match the service account name if specified")})
	}
	account, err := client.Get[*corev1.ServiceAccount](r.Context(), s.client, r.namespace, r.name)
	if err != nil {
		return nil, err
	}
	if req.UID != "" && req.UID != account.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: tokenRequestKind.Group, Resource: tokenRequestKind.Kind}, r.name, fmt.Errorf(
			"the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, account.UID))
	}
	req.Name, req.UID = account.Name, account.UID
	return account, nil
}

// grantOf checks what a TokenRequest asks for.
func (s *Server) grantOf(r *request, req *authenticationv1.TokenRequest, account *corev1.ServiceAccount) (grant, error) {
	g := grant{account: account, audiences: req.Spec.Audiences, seconds: defaultTokenSeconds}
	if len(g.audiences) == 0 {
		g.audiences = s.tokens.audiences
	}
	if req.Spec.ExpirationSeconds != nil {
		g.seconds = *req.Spec.ExpirationSeconds
	}
	path := field.NewPath("spec", "expirationSeconds")
	var errs field.ErrorList
	if g.seconds < minTokenSeconds {
		errs = append(errs, field.Invalid(path, g.seconds, "may not specify a duration less than 10 minutes"))
	}
	if g.seconds > maxTokenSeconds {
		errs = append(errs, field.Invalid(path, g.seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(errs) > 0 {
		return g, apierrors.NewInvalid(tokenRequestKind.GroupKind(), "", errs)
	}
	if ref := req.Spec.BoundObjectRef; ref != nil {
		if err := s.bindGrant(r, &g, ref); err != nil {
			return g, err
		}
	}
	// A node gets tokens for its own pods only, whatever its roles allow.
	tokens := admission.NodeTokens{Client: s.client, Authorizer: s.Allowed}
	if err := tokens.Check(r.Context(), kind.UserFrom(r.Context()), g.account, &req.Spec, g.pod); err != nil {
		return g, apierrors.NewForbidden(corev1.Resource("serviceaccounts/token"), r.name, err)
	}
	return g, nil
}

func (s *Server) bindGrant(r *request, g *grant, ref *authenticationv1.BoundObjectReference) error {
	var err error
	var got metav1.Object
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch gvk.GroupKind() { // of whatever version, as Kubernetes takes it
	case schema.GroupKind{Kind: "Pod"}:
		if g.pod, err = client.Get[*corev1.Pod](r.Context(), s.client, r.namespace, ref.Name); err == nil {
			got = g.pod
			err = s.grantPod(r, g)
		}
	case schema.GroupKind{Kind: "Secret"}:
		g.secret, err = client.Get[*corev1.Secret](r.Context(), s.client, r.namespace, ref.Name)
		got = g.secret
	case schema.GroupKind{Kind: "Node"}:
		var node *corev1.Node
		if node, err = client.Get[*corev1.Node](r.Context(), s.client, "", ref.Name); err == nil {
			got = node
			g.node = &reference{node.Name, node.UID}
		}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	if err != nil {
		return err
	}
	if ref.UID != "" && ref.UID != got.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

// grantPod checks that the pod runs as the service account, and adds its node.
func (s *Server) grantPod(r *request, g *grant) error {
	if g.pod.Spec.ServiceAccountName != g.account.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", g.account.Name))
	}
	if name := g.pod.Spec.NodeName; name != "" {
		g.node = &reference{Name: name}
		if node, err := client.Get[*corev1.Node](r.Context(), s.client, "", name); err == nil {
			g.node.UID = node.UID
		}
	}
	return nil
}
