package recorded

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Impersonations is a recording of requests that are sent as somebody else, in their order: how a sender could
// impersonate last is tried first the next time.
type Impersonations struct {
	Senders  []Sender        `json:"senders"`
	Requests []Impersonation `json:"requests"`
}

// Sender is a service account that may do what the rules say in the whole cluster.
type Sender struct {
	Name  string              `json:"name"`
	Rules []rbacv1.PolicyRule `json:"rules"`
	Node  string              `json:"node,omitempty"` // where its pod runs, to which its token is bound then
}

// Impersonation is a request and its answer.
type Impersonation struct {
	By     string              `json:"by"`
	User   string              `json:"user"`
	UID    string              `json:"uid,omitempty"`
	Groups []string            `json:"groups,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
	Method string              `json:"method"`
	Path   string              `json:"path"`
	Body   map[string]any      `json:"body,omitempty"`
	Answer Answer              `json:"answer"`
}

// marker is what every sender may get, by which it is seen that its role holds.
const marker = "/recorded"

// Ask sends every request, and returns the answers.
func (i *Impersonations) Ask(ctx context.Context, admin *rest.Config) ([]Answer, error) {
	c, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	tokens := map[string]string{}
	for _, s := range i.Senders {
		if tokens[s.Name], err = s.begin(ctx, c); err != nil {
			return nil, fmt.Errorf("sender %s: %w", s.Name, err)
		}
	}
	answers := make([]Answer, len(i.Requests))
	for n, r := range i.Requests {
		config := rest.AnonymousClientConfig(admin)
		config.BearerToken = tokens[r.By]
		config.Impersonate = rest.ImpersonationConfig{UserName: r.User, UID: r.UID, Groups: r.Groups, Extra: r.Extra}
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, err
		}
		if answers[n], err = Ask(ctx, client, r.Method, admin.Host+r.Path, r.Body); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// begin makes the sender, and returns its token.
func (s *Sender) begin(ctx context.Context, c kubernetes.Interface) (string, error) {
	meta := metav1.ObjectMeta{Name: s.Name}
	account := &corev1.ServiceAccount{ObjectMeta: meta}
	if _, err := c.CoreV1().ServiceAccounts(Namespace).Create(ctx, account, metav1.CreateOptions{}); already(err) != nil {
		return "", err
	}
	rules := append([]rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{marker}}}, s.Rules...)
	if _, err := c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}); already(err) != nil {
		return "", err
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: Namespace, Name: s.Name}},
	}, metav1.CreateOptions{}); already(err) != nil {
		return "", err
	}
	request := &authenticationv1.TokenRequest{}
	if s.Node != "" {
		if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Node}}, metav1.CreateOptions{}); already(err) != nil {
			return "", err
		}
		pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{ServiceAccountName: s.Name, NodeName: s.Node, Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}
		if _, err := c.CoreV1().Pods(Namespace).Create(ctx, pod, metav1.CreateOptions{}); already(err) != nil {
			return "", err
		}
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: s.Name}
	}
	token, err := c.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, s.Name, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return token.Status.Token, s.await(ctx, c)
}

func already(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// await waits until the server goes by the sender's role.
func (s *Sender) await(ctx context.Context, c kubernetes.Interface) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:                  "system:serviceaccount:" + Namespace + ":" + s.Name,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: marker},
	}}
	for {
		answer, err := c.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil || answer.Status.Allowed {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
