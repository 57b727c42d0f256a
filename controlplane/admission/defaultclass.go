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
// by name. There may be none.
func defaultOf[T kind.Object](ctx context.Context, c client.Client, annotations ...string) (class T, ok bool, err error) {
	all, err := client.List[T](ctx, c, client.Query{})
	if err != nil {
		return class, false, err
	}
	marked := slices.DeleteFunc(all, func(class T) bool {
		return !slices.ContainsFunc(annotations, func(a string) bool { return class.GetAnnotations()[a] == "true" })
	})
	if len(marked) == 0 {
		return class, false, nil
	}
	return slices.MinFunc(marked, func(a, b T) int {
		at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
		return cmp.Or(bt.Compare(at.Time), cmp.Compare(a.GetName(), b.GetName()))
	}), true, nil
}

// defaultClass gives objects T that name no class the default one of the classes C.
type defaultClass[T, C kind.Object] struct {
	silent
	client Reader
	name   string
	// marks are the annotations by which a class says that it is the default.
	marks []string
	// field is where an object names its class; nil when it has named one.
	field func(T) **string
}

func newDefaultStorageClass(c Reader) *defaultClass[*corev1.PersistentVolumeClaim, *storagev1.StorageClass] {
	return &defaultClass[*corev1.PersistentVolumeClaim, *storagev1.StorageClass]{
		client: c, name: "DefaultStorageClass", marks: []string{defaultStorageAnnotation, betaDefaultStorageAnnotation},
		field: func(claim *corev1.PersistentVolumeClaim) **string {
			if storagehelpers.PersistentVolumeClaimHasClass(claim) {
				return nil
			}
			return &claim.Spec.StorageClassName
		},
	}
}

func newDefaultIngressClass(c Reader) *defaultClass[*networkingv1.Ingress, *networkingv1.IngressClass] {
	return &defaultClass[*networkingv1.Ingress, *networkingv1.IngressClass]{
		client: c, name: "DefaultIngressClass", marks: []string{networkingv1.AnnotationIsDefaultIngressClass},
		field: func(ingress *networkingv1.Ingress) **string {
			if _, old := ingress.Annotations[ingressClassAnnotation]; old || ingress.Spec.IngressClassName != nil {
				return nil
			}
			return &ingress.Spec.IngressClassName
		},
	}
}

func (p *defaultClass[T, C]) Name() string { return p.name }

func (p *defaultClass[T, C]) Admit(ctx context.Context, r *Request) error {
	obj, ok := r.Object.(T)
	if !ok || r.Verb != kind.Create || r.Subresource != "" {
		return nil
	}
	field := p.field(obj)
	if field == nil {
		return nil
	}
	class, ok, err := defaultOf[C](ctx, p.client(), p.marks...)
	if err != nil || !ok {
		return err
	}
	name := class.GetName()
	*field = &name
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
