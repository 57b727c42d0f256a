package api_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
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

const auditPolicyFile = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [jane], verbs: [list]}
- {level: RequestResponse, resources: [{resources: [configmaps], resourceNames: [kept]}, {resources: ["serviceaccounts/*"]}], namespaces: [default], omitManagedFields: true}
- {level: Request, resources: [{group: apps}], omitStages: [ResponseComplete]}
- {level: Metadata, nonResourceURLs: ["/api*"], userGroups: ["system:masters"]}
- {level: Metadata, verbs: [watch, delete]}
`

// TestAuditPolicy has a request for each rule, and for none.
func TestAuditPolicy(t *testing.T) {
	policy, err := config.ParseAuditPolicy([]byte(auditPolicyFile))
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	e := apitest.Start(t, apitest.Options{Audit: log, Change: func(c *api.Config) { c.Audit.Policy = policy }})
	ctx, admin := t.Context(), e.Kube(e.Admin())
	_, _ = e.Kube(e.As("jane")).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	for _, name := range []string{"kept", "other"} {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "b"}}
		if _, err := admin.CoreV1().ConfigMaps("default").Create(ctx, m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.CoreV1().ConfigMaps("default").Update(ctx, m, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = admin.AppsV1().Deployments("default").List(ctx, metav1.ListOptions{})
	if _, _, data := do(t, e.HTTP(), "GET", e.Address+"/apis", "", "", ""); len(data) == 0 {
		t.Fatal("no discovery")
	}
	w, err := admin.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	if err := admin.CoreV1().ConfigMaps("default").Delete(ctx, "other", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	type event struct {
		Level, Stage, Verb, RequestURI string
		ObjectRef                      struct{ Resource, Name string }
		RequestObject, ResponseObject  struct {
			Data     map[string]string
			Metadata struct{ ManagedFields []any }
		}
		Annotations map[string]string
	}
	var got []string
	e.Eventually("the last request is logged", func() bool {
		got = nil
		for _, text := range log.all() {
			var ev event
			if json.Unmarshal([]byte(text), &ev) != nil {
				return false
			}
			if ev.Level == "RequestResponse" && (ev.RequestObject.Data["a"] != "b" || ev.ResponseObject.Data["a"] != "b" || len(ev.ResponseObject.Metadata.ManagedFields) > 0) {
				t.Fatalf("bodies: %s", text)
			}
			if ev.Annotations["authorization.k8s.io/decision"] != "allow" {
				t.Fatalf("annotations: %s", text)
			}
			got = append(got, strings.TrimSpace(ev.Level+" "+ev.Stage+" "+ev.Verb+" "+ev.ObjectRef.Resource+" "+ev.ObjectRef.Name))
		}
		return slices.Contains(got, "Metadata ResponseComplete delete configmaps other") && slices.Contains(got, "Metadata ResponseComplete watch pods")
	})
	slices.Sort(got)
	want := []string{
		"Metadata ResponseComplete delete configmaps other", "Metadata ResponseComplete get", "Metadata ResponseComplete watch pods",
		"Metadata ResponseStarted watch pods", "RequestResponse ResponseComplete update configmaps kept",
	}
	if !slices.Equal(got, want) {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
