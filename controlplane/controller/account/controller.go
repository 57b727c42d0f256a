// Package account keeps in each namespace what every pod mounts: the service account "default" and the cluster's
// CA certificate.
package account

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	workers = 2

	defaultAccount = "default"
	caConfigMap    = "kube-root-ca.crt"
	caKey          = "ca.crt"
	caDescription  = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

type controller struct {
	client client.Client
	ca     string
}

// New returns the controller; ca is the PEM bundle that pods trust the API server by.
func New(c client.Client, ca []byte) loop.Controller {
	r := &controller{client: c, ca: string(ca)}
	return loop.Controller{
		Name: "account", For: kind.Of[*corev1.Namespace](), Workers: workers, Reconcile: r.reconcile,
		Also: []loop.Source{
			{Kind: kind.Of[*corev1.ServiceAccount](), Keys: changed(defaultAccount)},
			{Kind: kind.Of[*corev1.ConfigMap](), Keys: changed(caConfigMap)},
		},
	}
}

// changed looks at a namespace again when the object of that name was changed or deleted in it.
func changed(name string) func(client.Event) []loop.Key {
	return func(e client.Event) []loop.Key {
		if e.Object.GetName() != name || e.Type == watch.Added {
			return nil
		}
		return []loop.Key{{Name: e.Object.GetNamespace()}}
	}
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	ns, err := client.Get[*corev1.Namespace](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil || ns.DeletionTimestamp != nil {
		return loop.Result{}, err
	}
	if err := r.account(ctx, ns.Name); err != nil {
		return loop.Result{}, err
	}
	return loop.Result{}, r.certificate(ctx, ns.Name)
}

func (r *controller) account(ctx context.Context, namespace string) error {
	_, err := client.Get[*corev1.ServiceAccount](ctx, r.client, namespace, defaultAccount)
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, r.client, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: defaultAccount, Namespace: namespace}})
	}
	if settled(err) {
		return nil
	}
	return fmt.Errorf("cannot create service account %s/%s: %w", namespace, defaultAccount, err)
}

func (r *controller) certificate(ctx context.Context, namespace string) error {
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: caConfigMap, Namespace: namespace, Annotations: map[string]string{"kubernetes.io/description": caDescription}},
		Data:       map[string]string{caKey: r.ca},
	}
	have, err := client.Get[*corev1.ConfigMap](ctx, r.client, namespace, caConfigMap)
	switch {
	case apierrors.IsNotFound(err):
		_, err = client.Create(ctx, r.client, want)
	case err == nil && (len(have.Data) != 1 || have.Data[caKey] != r.ca || len(have.BinaryData) > 0):
		next := have.DeepCopy()
		next.Data, next.BinaryData = want.Data, nil
		_, err = client.Update(ctx, r.client, next)
	}
	if settled(err) {
		return nil
	}
	return fmt.Errorf("cannot write config map %s/%s: %w", namespace, caConfigMap, err)
}

// settled says that a write is done, or that there is nothing to do: someone was quicker, or the namespace goes.
func settled(err error) bool {
	return err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
