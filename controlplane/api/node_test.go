package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// TestNode holds a node to what its own pods need.
func TestNode(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	n1, n2 := e.Kube(e.As("system:node:n1", "system:nodes")), e.Kube(e.As("system:node:n2", "system:nodes"))
	for name, c := range map[string]kubernetes.Interface{"n1": n1, "n2": n2} {
		if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatalf("node %s registers: %v", name, err)
		}
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := c.CoordinationV1().Leases("kube-node-lease").Create(ctx, lease, metav1.CreateOptions{}); err != nil {
			t.Fatalf("node %s makes its lease: %v", name, err)
		}
	}
	for _, name := range []string{"used", "unused", "later"} {
		if _, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1",
		Volumes:    []corev1.Volume{{Name: "claimed", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}}},
		Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "used"}}}}}}}}
	if _, err := admin.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// at once: the node may know of the pod before the authorizer's own watch does
	if _, err := n1.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{}); err != nil {
		t.Errorf("n1 reads its pod's secret: %v", err)
	}
	mustClaim(t, admin, "claim", "volume", "mount")
	if _, err := n1.CoreV1().Secrets("kube-system").Get(ctx, "mount", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("n1 reads the secret that its pod's volume is mounted with, which nobody made: %v", err)
	}
	for name, call := range map[string]func() error{
		"another secret": func() error {
			_, err := n1.CoreV1().Secrets("default").Get(ctx, "unused", metav1.GetOptions{})
			return err
		},
		"all secrets": func() error { _, err := n1.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); return err },
		"the secret that a volume of n1 is mounted with": func() error {
			_, err := n2.CoreV1().Secrets("kube-system").Get(ctx, "mount", metav1.GetOptions{})
			return err
		},
		"a secret of n1": func() error {
			_, err := n2.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
			return err
		},
		"write a secret": func() error { return n1.CoreV1().Secrets("default").Delete(ctx, "used", metav1.DeleteOptions{}) },
		"all pods":       func() error { _, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); return err },
		"pods of n1": func() error {
			_, err := n2.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
			return err
		},
		"status of a pod of n1": func() error {
			_, err := n2.CoreV1().Pods("default").Patch(ctx, "p", "application/merge-patch+json", []byte(`{}`), metav1.PatchOptions{}, "status")
			return err
		},
		"another node": func() error {
			_, err := n2.CoreV1().Nodes().Patch(ctx, "n1", "application/merge-patch+json", []byte(`{}`), metav1.PatchOptions{})
			return err
		},
		"create another node": func() error {
			_, err := n2.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}}, metav1.CreateOptions{})
			return err
		},
		"another lease": func() error {
			_, err := n2.CoordinationV1().Leases("kube-node-lease").Get(ctx, "n1", metav1.GetOptions{})
			return err
		},
		"a token for no pod": func() error {
			_, err := n1.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		},
		"a token for a pod of n1": func() error {
			ref := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p"}
			_, err := n2.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{})
			return err
		},
		"create a pod": func() error {
			_, err := n1.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := call(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}); err != nil || len(l.Items) != 1 {
		t.Errorf("own pods: %v", err)
	}
	if _, err := n1.CoreV1().Pods("default").Patch(ctx, "p", "application/merge-patch+json", []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("status of an own pod: %v", err)
	}
	debug := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "debug", Image: "registry.example/a:1", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "later"}}}}}}}}}
	patch, err := json.Marshal(debug)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().Pods("default").Patch(ctx, "p", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "ephemeralcontainers"); err != nil {
		t.Fatal(err)
	}
	e.Eventually("n1 may read the secret of a container that was added", func() bool {
		_, err := n1.CoreV1().Secrets("default").Get(ctx, "later", metav1.GetOptions{})
		return err == nil
	})
	zero := int64(0)
	if err := n1.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Errorf("delete of an own pod: %v", err)
	}
	e.Eventually("the secret is none of n1's any more", func() bool {
		_, err := n1.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
		return apierrors.IsForbidden(err)
	})
}

// mustClaim makes a claim that is bound to a volume whose driver wants a secret of kube-system to mount it.
func mustClaim(t *testing.T, admin kubernetes.Interface, claim, volume, secret string) {
	t.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	_, err := admin.CoreV1().PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: volume}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: modes, ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "default", Name: claim},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "driver.example", VolumeHandle: volume,
			NodePublishSecretRef: &corev1.SecretReference{Namespace: "kube-system", Name: secret}}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: claim}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: modes, VolumeName: volume, StorageClassName: ptr.To(""), Resources: corev1.VolumeResourceRequirements{Requests: size}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNodeTokens lets a node have the tokens that its pods mount, and no others.
func TestNodeTokens(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	n1 := e.Kube(e.As("system:node:n1", "system:nodes"))
	mustClaim(t, admin, "claim", "volume", "mount")
	_, err := admin.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "driver.example"}, Spec: storagev1.CSIDriverSpec{
		TokenRequests: []storagev1.TokenRequest{{Audience: "store"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound, err := admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bound"}, Spec: corev1.PodSpec{
		NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}},
		Volumes: []corev1.Volume{
			{Name: "claimed", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
			{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "vault"}}}}}},
		}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := func(uid types.UID, audiences ...string) error {
		_, err := n1.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "bound", UID: uid}}}, metav1.CreateOptions{})
		return err
	}
	for _, c := range []struct {
		name      string
		uid       types.UID
		audiences []string
		why       string // empty when it is allowed
	}{
		{"one that the pod mounts", bound.UID, []string{"vault"}, ""},
		{"one for the API", bound.UID, nil, ""},
		{"one that the driver of its volume wants", bound.UID, []string{"store"}, ""},
		{"one for another audience", bound.UID, []string{"other"}, `not authorized to request tokens for audience "other"`},
		{"one for two audiences", bound.UID, []string{"vault", "other"}, "0 or 1 audiences"},
		{"one for any pod of the name", "", nil, "without a uid"},
	} {
		err := token(c.uid, c.audiences...)
		if c.why == "" && err != nil || c.why != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err = admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "other-tokens"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"request-serviceaccounts-token-audience"}, APIGroups: []string{""}, Resources: []string{"other"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bindRole(t, admin, "default", "other-tokens", "system:node:n1")
	e.Eventually("a role allows the node another audience", func() bool { return token(bound.UID, "other") == nil })
}
