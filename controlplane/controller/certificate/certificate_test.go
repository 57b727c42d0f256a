package certificate_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/certificate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// start runs a server with the controllers of this package.
func start(t *testing.T) *apitest.Env {
	t.Helper()
	e := apitest.Start(t, apitest.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		err := loop.Run(ctx, e.Client, slog.New(slog.DiscardHandler), certificate.Approver(e.Client, e.Allowed), certificate.Issuer(e.Client, e.Keys.Authority), certificate.Cleaner(e.Client))
		if err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return e
}

func newRequest(t *testing.T, name, signer string, subject pkix.Name, usages ...certificatesv1.KeyUsage) (*certificatesv1.CertificateSigningRequest, []byte) {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := certs.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: certs.PEMRequest, Bytes: der}), SignerName: signer, Usages: usages, Username: "forged"}}, keyPEM
}

func decide(t *testing.T, c kubernetes.Interface, name string, what certificatesv1.RequestConditionType) error {
	t.Helper()
	csr, err := c.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: what, Status: "True", Reason: "Test"})
	_, err = c.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), name, csr, metav1.UpdateOptions{})
	return err
}

func grant(t *testing.T, c kubernetes.Interface, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	name := strings.ReplaceAll(user, ":", "-")
	if _, err := c.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func certificateRule(verb, resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{"certificates.k8s.io"}, Resources: []string{resource}, ResourceNames: names}
}

// TestClientCertificate follows a request from its making to the certificate, and uses that.
func TestClientCertificate(t *testing.T) {
	e := start(t)
	admin := e.Kube(e.Admin())
	grant(t, admin, "jane", certificateRule("*", "certificatesigningrequests"))
	grant(t, admin, "boss", certificateRule("get", "certificatesigningrequests"), certificateRule("update", "certificatesigningrequests/approval"),
		certificateRule("update", "certificatesigningrequests/status"), certificateRule("approve", "signers", "kubernetes.io/*"))
	jane, boss := e.Kube(e.As("jane", "devs")), e.Kube(e.As("boss"))
	csr, key := newRequest(t, "bob", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "bob", Organization: []string{"team"}}, certificatesv1.UsageClientAuth)
	seconds := int32(3600)
	csr.Spec.ExpirationSeconds = &seconds
	e.Eventually("jane may ask", func() bool {
		got, err := jane.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{})
		if err == nil && (got.Spec.Username != "jane" || got.Spec.Groups[0] != "devs") {
			t.Fatalf("requestor: %+v", got.Spec)
		}
		return err == nil
	})
	if err := decide(t, jane, "bob", certificatesv1.CertificateApproved); !apierrors.IsForbidden(err) {
		t.Fatalf("approval by the requestor: %v", err)
	}
	e.Eventually("boss may approve", func() bool { return decide(t, boss, "bob", certificatesv1.CertificateApproved) == nil })
	e.Eventually("the certificate is issued", func() bool {
		got, err := admin.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "bob", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		csr = got
		return len(got.Status.Certificate) > 0
	})
	cert, err := certs.ParseCertificate(csr.Status.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(cert.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Errorf("certificate is good for %v", left)
	}
	bob := e.Kube(&rest.Config{Host: e.Address, TLSClientConfig: rest.TLSClientConfig{CAData: e.Keys.Authority.PEM(), CertData: csr.Status.Certificate, KeyData: key}})
	if _, err := bob.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "bob"`) {
		t.Errorf("as bob: %v", err)
	}
	if err := decide(t, boss, "bob", certificatesv1.CertificateDenied); !apierrors.IsInvalid(err) {
		t.Errorf("denied after approval: %v", err)
	}
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed, Status: "True"})
	if _, err := boss.CertificatesV1().CertificateSigningRequests().UpdateStatus(t.Context(), csr, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("status by who may not sign: %v", err)
	}
}

func TestRefusedRequests(t *testing.T) {
	e := start(t)
	admin := e.Kube(e.Admin())
	masters, _ := newRequest(t, "root", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "root", Organization: []string{"system:masters"}}, certificatesv1.UsageClientAuth)
	if _, err := admin.CertificatesV1().CertificateSigningRequests().Create(t.Context(), masters, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("certificate of an administrator: %v", err)
	}
	server, _ := newRequest(t, "server", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "x"}, certificatesv1.UsageServerAuth)
	if _, err := admin.CertificatesV1().CertificateSigningRequests().Create(t.Context(), server, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := decide(t, admin, "server", certificatesv1.CertificateApproved); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the signer says why it does not sign", func() bool {
		got, err := admin.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "server", metav1.GetOptions{})
		return err == nil && len(got.Status.Conditions) == 2 && got.Status.Conditions[1].Message == "invalid usage for client certificate: server auth"
	})
}

// TestNodesApproveThemselves has two nodes ask for their own certificates: only the one that has the right to is
// answered without a person.
func TestNodesApproveThemselves(t *testing.T) {
	e := start(t)
	admin := e.Kube(e.Admin())
	grant(t, admin, "system:node:a", certificateRule("create", "certificatesigningrequests/selfnodeclient"))
	ask := func(node string) *certificatesv1.CertificateSigningRequest {
		csr, _ := newRequest(t, node, certificatesv1.KubeAPIServerClientKubeletSignerName, pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
			certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth)
		c := e.Kube(e.As("system:node:"+node, "system:nodes"))
		got, err := c.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	ask("b") // first, so that it has been looked at when the other is done
	ask("a")
	e.Eventually("the node has its certificate", func() bool {
		got, err := admin.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "a", metav1.GetOptions{})
		return err == nil && len(got.Status.Certificate) > 0
	})
	if got, err := admin.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "b", metav1.GetOptions{}); err != nil || len(got.Status.Conditions) > 0 {
		t.Errorf("the node without the right: %+v, %v", got.Status, err)
	}
}
