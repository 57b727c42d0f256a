package admission

import (
	"cmp"
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	defaultStorageAnnotation     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultStorageAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
	ingressClassAnnotation       = "kubernetes.io/ingress.class"
)

// defaultOf returns the class that is marked as the default: the newest should there be several, of those the first
// by name. It is the zero T when there is none.
func defaultOf[T kind.Object](ctx context.Context, c client.Client, annotations ...string) (T, error) {
	var zero T
	all, err := client.List[T](ctx, c, client.Query{})
	if err != nil {
		return zero, err
	}
	marked := slices.DeleteFunc(all, func(class T) bool {
		return !slices.ContainsFunc(annotations, func(a string) bool { return class.GetAnnotations()[a] == "true" })
	})
	if len(marked) == 0 {
		return zero, nil
	}
	return slices.MinFunc(marked, func(a, b T) int {
		at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
		return cmp.Or(bt.Compare(at.Time), cmp.Compare(a.GetName(), b.GetName()))
	}), nil
}

// defaultStorageClass gives claims that name no class the default one.
type defaultStorageClass struct {
	silent
	client Reader
}

func (*defaultStorageClass) Name() string { return "DefaultStorageClass" }

func (p *defaultStorageClass) Admit(ctx context.Context, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	if !ok || r.Verb != kind.Create || r.Subresource != "" || storagehelpers.PersistentVolumeClaimHasClass(claim) {
		return nil
	}
	class, err := defaultOf[*storagev1.StorageClass](ctx, p.client(), defaultStorageAnnotation, betaDefaultStorageAnnotation)
	if err != nil || class == nil {
		return err
	}
	claim.Spec.StorageClassName = &class.Name
	return nil
}

// defaultIngressClass gives ingresses that name no class the default one.
type defaultIngressClass struct {
	silent
	client Reader
}

func (*defaultIngressClass) Name() string { return "DefaultIngressClass" }

func (p *defaultIngressClass) Admit(ctx context.Context, r *Request) error {
	ingress, ok := r.Object.(*networkingv1.Ingress)
	if !ok || r.Verb != kind.Create || r.Subresource != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, old := ingress.Annotations[ingressClassAnnotation]; old {
		return nil
	}
	class, err := defaultOf[*networkingv1.IngressClass](ctx, p.client(), networkingv1.AnnotationIsDefaultIngressClass)
	if err != nil || class == nil {
		return err
	}
	ingress.Spec.IngressClassName = &class.Name
	return nil
}

// claimResize lets only those claims grow that are bound and whose class can do it.
type claimResize struct {
	silent
	client Reader
}

func (*claimResize) Name() string { return "PersistentVolumeClaimResize" }

func (p *claimResize) Validate(ctx context.Context, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	if !ok || r.Verb != kind.Update || r.Subresource != "" {
		return nil
	}
	old := r.Old.(*corev1.PersistentVolumeClaim)
	if size, had := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]; size.Cmp(had) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return forbidden(r, errors.New("Only bound persistent volume claims can be expanded"))
	}
	name := storagehelpers.GetPersistentVolumeClaimClass(claim)
	class, err := client.Get[*storagev1.StorageClass](ctx, p.client(), "", name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if name == "" || err != nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return forbidden(r, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}
