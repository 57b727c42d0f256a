package admission_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

// TestNodeRestriction holds a node to what it may write about itself, its pods and their claims.
func TestNodeRestriction(t *testing.T) {
	c := start(t)
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}})
	as := kind.WithUser(t.Context(), &kind.User{Name: "system:node:a", Groups: []string{"system:nodes"}})
	mine, err := client.Create(as, c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{corev1.LabelHostname: "a", "zone": "z"}}})
	if err != nil {
		t.Fatal(err)
	}
	other := create(t, c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}})
	bound := func(name, node string) *corev1.Pod {
		p := create(t, c, aPod(name))
		if err := c.Bind(t.Context(), "default", name, p.UID, node); err != nil {
			t.Fatal(err)
		}
		p, err := client.Get[*corev1.Pod](t.Context(), c, "default", name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	here, there := bound("here", "a"), bound("there", "b")
	running := func(p *corev1.Pod, labels map[string]string) *corev1.Pod {
		p = p.DeepCopy()
		p.ResourceVersion = ""
		p.Status.Phase = corev1.PodRunning
		if labels != nil {
			p.Labels = labels
		}
		return p
	}
	lease := func(namespace, name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	labelled := func(n *corev1.Node, key string) *corev1.Node {
		n = n.DeepCopy()
		n.ResourceVersion = ""
		n.Labels = map[string]string{corev1.LabelHostname: n.Name, key: "x"}
		return n
	}
	tainted := mine.DeepCopy()
	tainted.ResourceVersion = ""
	tainted.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}
	owned := mine.DeepCopy()
	owned.ResourceVersion = ""
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "b", UID: other.UID}}
	write := func(_ any, err error) error { return err }
	label := func(key string) func() error {
		return func() error { return write(client.Update(as, c, labelled(mine, key))) }
	}
	claim := create(t, c, parse[*corev1.PersistentVolumeClaim](t, "metadata: {name: claim}\nspec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}"))
	claimed := func(change func(*corev1.PersistentVolumeClaim)) func() error {
		return func() error {
			obj := claim.DeepCopy()
			obj.ResourceVersion = ""
			change(obj)
			return write(client.UpdateStatus(as, c, obj))
		}
	}
	mirror := func(spec string, change func(*corev1.Pod)) func() error {
		return func() error {
			pod := parse[*corev1.Pod](t, "metadata: {generateName: mirror-, annotations: {kubernetes.io/config.mirror: x}}\nspec: {nodeName: a, containers: [{name: c, image: x, env: []}]"+spec+"}")
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "a", UID: mine.UID, Controller: ptr.To(true)}}
			if change != nil {
				change(pod)
			}
			return write(client.Create(as, c, pod))
		}
	}
	certificate := func(name string) func() error {
		return func() error { return write(client.Create(as, c, nodeRequest(t, name))) }
	}
	driver := func(name string) func() error {
		return func() error {
			return write(client.Create(as, c, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		}
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want string // "" when it is allowed
	}{
		{"label itself", label("zone"), ""},
		{"label itself for its owner", label("example.com/x"), ""},
		{"label itself by zone", label("topology.kubernetes.io/zone"), ""},
		{"label itself as kubelets do", label("node.kubernetes.io/x"), ""},
		{"label itself as agents do", label("a.kubelet.kubernetes.io/x"), ""},
		{"label itself as restricted", label("node-restriction.kubernetes.io/x"), "is not allowed to modify labels: node-restriction.kubernetes.io/x"},
		{"label itself as control plane", label("node-role.kubernetes.io/control-plane"), "is not allowed to modify labels"},
		{"label itself as reserved", label("k8s.io/x"), "is not allowed to modify labels"},
		{"label itself as reserved below", label("a.k8s.io/x"), "is not allowed to modify labels"},
		{"label itself through status", func() error {
			return write(client.UpdateStatus(as, c, labelled(mine, "node-restriction.kubernetes.io/x")))
		}, "is not allowed to modify labels"},
		{"give itself an owner", func() error { return write(client.Update(as, c, owned)) }, `node "a" is not allowed to modify ownerReferences`},
		{"taint itself", func() error { return write(client.Update(as, c, tainted)) }, `node "a" is not allowed to modify taints`},
		{"touch another node", func() error { return write(client.Update(as, c, labelled(other, "zone"))) }, `node "a" is not allowed to modify node "b"`},
		{"touch another node's status", func() error { return write(client.UpdateStatus(as, c, other)) }, `node "a" is not allowed to modify node "b"`},
		{"status of its pod", func() error { return write(client.UpdateStatus(as, c, running(here, nil))) }, ""},
		{"labels through status", func() error {
			return write(client.UpdateStatus(as, c, running(here, map[string]string{"a": "b"})))
		}, "cannot update labels through pod status"},
		{"status of another's pod", func() error { return write(client.UpdateStatus(as, c, running(there, nil))) }, `can only update pod status for pods with spec.nodeName set to itself`},
		{"delete another's pod", func() error { return client.Delete[*corev1.Pod](as, c, "default", "there", metav1.DeleteOptions{}) }, "can only delete pods with spec.nodeName set to itself"},
		{"create a pod", func() error { return write(client.Create(as, c, aPod("x"))) }, "can only create mirror pods"},
		{"create a mirror pod", mirror("", nil), ""},
		{"create a mirror pod with files of the host", mirror(", volumes: [{name: v, hostPath: {path: /etc}}]", nil), ""},
		{"create a mirror pod elsewhere", mirror("", func(p *corev1.Pod) { p.Spec.NodeName = "b" }), "can only create pods with spec.nodeName set to itself"},
		{"create a mirror pod of no owner", mirror("", func(p *corev1.Pod) { p.OwnerReferences = nil }), "an owner reference set to itself"},
		{"create a mirror pod of two owners", mirror("", func(p *corev1.Pod) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: "b", UID: other.UID})
		}), "a single owner reference set to itself"},
		{"create a mirror pod of another node", mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].Name = "b" }), "an owner reference set to itself"},
		{"create a mirror pod of an earlier node", mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }), "UID mismatch"},
		{"create a mirror pod that it does not control", mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), "a controller owner reference"},
		{"create a mirror pod that holds it back", mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].BlockOwnerDeletion = ptr.To(true) }), "must not set blockOwnerDeletion"},
		{"create a mirror pod with an account", mirror(", serviceAccountName: default", nil), "may not reference service accounts"},
		{"create a mirror pod with a secret in its environment", mirror(", initContainers: [{name: i, image: x, envFrom: [{secretRef: {name: s}}]}]", nil), "reference secrets"},
		{"create a mirror pod with a pull secret", mirror(", imagePullSecrets: [{name: s}]", nil), "reference secrets"},
		{"create a mirror pod with a config map", mirror(", volumes: [{name: v, configMap: {name: m}}]", nil), "reference configmaps"},
		{"create a mirror pod with a claim", mirror(", volumes: [{name: v, persistentVolumeClaim: {claimName: claim}}]", nil), "reference persistentvolumeclaims"},
		{"create a mirror pod with a driver's volume", mirror(", volumes: [{name: v, csi: {driver: driver.example}}]", nil), "reference csidrivers"},
		{"create a mirror pod with a token", mirror(", volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token}}]}}]", nil), "may not use ServiceAccountToken volume projections"},
		{"size of a claim", claimed(func(c *corev1.PersistentVolumeClaim) { c.Status.Capacity = c.Spec.Resources.Requests }), ""},
		{"phase of a claim", claimed(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }), "not allowed to update fields other than"},
		{"delete a claim", func() error {
			return client.Delete[*corev1.PersistentVolumeClaim](as, c, "default", "claim", metav1.DeleteOptions{})
		}, "may only update PVC status"},
		{"certificate of its own", certificate("a"), ""},
		{"certificate of another", certificate("b"), "can only create a node CSR with CN=system:node:a"},
		{"drivers of its own", driver("a"), ""},
		{"drivers of another", driver("b"), "can only access CSINode with the same name as the requesting node"},
		{"change its pod", func() error { return write(client.Update(as, c, running(here, nil))) }, "unexpected operation"},
		{"its lease", func() error { return write(client.Create(as, c, lease(corev1.NamespaceNodeLease, "a"))) }, ""},
		{"another's lease", func() error { return write(client.Create(as, c, lease(corev1.NamespaceNodeLease, "b"))) }, "with the same name as the requesting node"},
		{"a lease elsewhere", func() error { return write(client.Create(as, c, lease("default", "a"))) }, "can only access leases in the"},
		{"delete its pod", func() error { return client.Delete[*corev1.Pod](as, c, "default", "here", metav1.DeleteOptions{}) }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.do()
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, apierrors.IsForbidden, tc.want)
		})
	}
	nameless := kind.WithUser(t.Context(), &kind.User{Name: "x", Groups: []string{"system:nodes"}})
	_, err = client.Create(nameless, c, aPod("y"))
	refused(t, err, apierrors.IsForbidden, `could not determine node from user "x"`)
}

// nodeRequest asks for the client certificate of a node.
func nodeRequest(t *testing.T, node string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: certs.PEMRequest, Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature}}}
}
