package api_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// lines is a writer whose whole lines can be read meanwhile.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.buf.String()), "\n")
}

func TestAudit(t *testing.T) {
	log := &lines{}
	e := apitest.Start(t, apitest.Options{Audit: log, AuditLevel: api.AuditRequestResponse})
	c := e.Kube(e.As("jane"))
	_, _ = c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	admin := e.Kube(e.Admin())
	if _, err := admin.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"p": "hunter2"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bob"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	type event struct {
		Level, Verb string
		User        struct{ Username string }
		ObjectRef   struct{ Resource, Namespace, Name string }
		Response    struct {
			Code   int
			Reason string
		} `json:"responseStatus"`
		RequestObject, ResponseObject json.RawMessage
	}
	find := func(user, resource string) (found event) {
		e.Eventually(user+"'s request for "+resource+" is logged", func() bool {
			for _, text := range log.all() {
				var ev event
				if json.Unmarshal([]byte(text), &ev) == nil && ev.User.Username == user && ev.ObjectRef.Resource == resource {
					found = ev
					return true
				}
			}
			return false
		})
		return found
	}
	if ev := find("jane", "pods"); ev.Verb != "list" || ev.Response.Code != 403 || ev.Response.Reason != "Forbidden" {
		t.Errorf("refused list: %+v", ev)
	}
	if ev := find("admin", "secrets"); ev.Level != "Metadata" || ev.ObjectRef.Name != "s" || ev.RequestObject != nil || ev.ResponseObject != nil {
		t.Errorf("secret: %+v", ev)
	}
	if ev := find("admin", "serviceaccounts"); ev.Level != "RequestResponse" || ev.RequestObject == nil || ev.ResponseObject == nil || ev.Response.Code != 201 {
		t.Errorf("service account: %+v", ev)
	}
	if all := strings.Join(log.all(), "\n"); strings.Contains(all, "hunter2") || strings.Contains(all, "aHVudGVyMg") {
		t.Error("the audit log has a secret in it")
	}
}
