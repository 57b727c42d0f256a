package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// namespaceLifecycle keeps objects out of namespaces that are not there or are going, and the namespaces that
// a cluster can not be without from being deleted.
type namespaceLifecycle struct {
	silent
	client Reader
}

func (*namespaceLifecycle) Name() string { return "NamespaceLifecycle" }

var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

func (p *namespaceLifecycle) Admit(ctx context.Context, r *Request) error {
	if _, ok := r.Kind.New().(*corev1.Namespace); ok {
		if r.Verb == kind.Delete && immortal[r.Name] {
			return forbidden(r, errors.New("this namespace may not be deleted"))
		}
		return nil
	}
	if r.Verb != kind.Create || r.Subresource != "" || !r.Kind.Namespaced {
		return nil
	}
	ns, err := client.Get[*corev1.Namespace](ctx, p.client(), "", r.Namespace)
	if err != nil {
		return err // 404 names the namespace
	}
	if ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	refusal := forbidden(r, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
	refusal.ErrStatus.Details.Causes = append(refusal.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace),
		Field:   "metadata.namespace",
	})
	return refusal
}

// forbidden is the refusal of a request by policy.
func forbidden(r *Request, err error) *apierrors.StatusError {
	return apierrors.NewForbidden(r.Kind.GroupResource(), nameOf(r), err)
}

// nameOf is the name that errors speak of.
func nameOf(r *Request) string {
	if r.Name == "" && r.Object != nil {
		return r.Object.GetGenerateName()
	}
	return r.Name
}

// podOf returns the pod that a request writes as a whole, or nil when it is about something else.
func podOf(r *Request) *corev1.Pod {
	if r.Subresource != "" && r.Subresource != "ephemeralcontainers" {
		return nil
	}
	pod, _ := r.Object.(*corev1.Pod)
	return pod
}
