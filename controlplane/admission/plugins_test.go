package admission_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

func aClaim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func TestDefaultClasses(t *testing.T) {
	c := start(t)
	if got := create(t, c, aClaim("none")); got.Spec.StorageClassName != nil {
		t.Errorf("class %q without a default", *got.Spec.StorageClassName)
	}
	yes := map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	create(t, c, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "b", Annotations: yes}, Provisioner: "a/b"})
	create(t, c, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Provisioner: "a/b"})
	if got := create(t, c, aClaim("some")); got.Spec.StorageClassName == nil || *got.Spec.StorageClassName != "b" {
		t.Errorf("class %v", got.Spec.StorageClassName)
	}
	own := aClaim("own")
	own.Spec.StorageClassName = new(string)
	if got := create(t, c, own); *got.Spec.StorageClassName != "" {
		t.Errorf("the class that was refused became %q", *got.Spec.StorageClassName)
	}
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "i"}, Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}
	create(t, c, &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec: networkingv1.IngressClassSpec{Controller: "a.b/c"}})
	if got := create(t, c, ingress); got.Spec.IngressClassName == nil || *got.Spec.IngressClassName != "web" {
		t.Errorf("ingress class %v", got.Spec.IngressClassName)
	}
}

func TestClaimResize(t *testing.T) {
	c := start(t)
	claim := create(t, c, aClaim("c"))
	grown := claim.DeepCopy()
	grown.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
	_, err := client.Update(t.Context(), c, grown)
	if err == nil {
		t.Fatal("a claim that is not bound grew")
	}
}

func TestRuntimeClass(t *testing.T) {
	c := start(t)
	create(t, c, &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "vm",
		Overhead:   &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"}, Tolerations: []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}}},
	})
	p := aPod("p")
	p.Spec.RuntimeClassName = &[]string{"vm"}[0]
	got := create(t, c, p)
	if got.Spec.Overhead.Cpu().String() != "250m" || got.Spec.NodeSelector["vm"] != "yes" || len(got.Spec.Tolerations) != 3 {
		t.Errorf("overhead %v, selector %v, tolerations %v", got.Spec.Overhead, got.Spec.NodeSelector, got.Spec.Tolerations)
	}
	p = aPod("conflict")
	p.Spec.RuntimeClassName, p.Spec.NodeSelector = &[]string{"vm"}[0], map[string]string{"vm": "no"}
	_, err := client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no")
	p = aPod("missing")
	p.Spec.RuntimeClassName = &[]string{"none"}[0]
	_, err = client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, `pod rejected: RuntimeClass "none" not found`)
	p = aPod("overhead")
	p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	_, err = client.Create(t.Context(), c, p)
	refused(t, err, apierrors.IsForbidden, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
}

func TestMirrorPodsHaveNoIdentity(t *testing.T) {
	c := start(t)
	secret := corev1.LocalObjectReference{Name: "s"}
	const noSecret = "a mirror pod may not reference secrets"
	for name, tc := range map[string]struct {
		change func(*corev1.PodSpec)
		want   string
	}{
		"plain":   {func(*corev1.PodSpec) {}, ""},
		"account": {func(s *corev1.PodSpec) { s.ServiceAccountName = "default" }, "a mirror pod may not reference service accounts"},
		"pull":    {func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{secret} }, noSecret},
		"env": {func(s *corev1.PodSpec) {
			s.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: secret}}}
		}, noSecret},
		"configmap": {func(s *corev1.PodSpec) {
			s.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: secret}}}
		}, ""},
		"projected": {func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: secret}}}}}}}
		}, noSecret},
		"csi": {func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", NodePublishSecretRef: &secret}}}}
		}, noSecret},
	} {
		p := aPod(name)
		p.Annotations, p.Spec.NodeName = map[string]string{corev1.MirrorPodAnnotationKey: "x"}, "n"
		tc.change(&p.Spec)
		_, err := client.Create(t.Context(), c, p)
		if tc.want != "" {
			refused(t, err, apierrors.IsForbidden, tc.want)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
