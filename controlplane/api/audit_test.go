package api_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

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

// TestAuditOfStages has a request of level Request, sent as somebody else, in both of its stages.
func TestAuditOfStages(t *testing.T) {
	policy, err := config.ParseAuditPolicy([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Request, resources: [{resources: [configmaps]}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	e := apitest.Start(t, apitest.Options{Audit: log, Change: func(c *api.Config) { c.Audit.Policy = policy }})
	as := e.Admin()
	as.Impersonate = rest.ImpersonationConfig{UserName: "jane", UID: "7", Groups: []string{"system:masters"}, Extra: map[string][]string{"scopes": {"all"}}}
	if _, err := e.Kube(as).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stages := map[auditv1.Stage]auditv1.Event{}
	e.Eventually("both stages are logged", func() bool {
		for _, text := range log.all() {
			var ev auditv1.Event
			if json.Unmarshal([]byte(text), &ev) == nil && ev.ObjectRef != nil && ev.ObjectRef.Resource == "configmaps" {
				stages[ev.Stage] = ev
			}
		}
		return len(stages) == 2
	})
	received, complete := stages[auditv1.StageRequestReceived], stages[auditv1.StageResponseComplete]
	if received.AuditID == "" || received.AuditID != complete.AuditID || received.RequestObject != nil || received.ResponseStatus != nil || received.Verb != "create" {
		t.Errorf("received: %+v", received)
	}
	if complete.Level != auditv1.LevelRequest || complete.RequestObject == nil || !strings.Contains(string(complete.RequestObject.Raw), `"name":"a"`) || complete.ResponseObject != nil ||
		complete.ResponseStatus == nil || complete.ResponseStatus.Code != 201 || complete.StageTimestamp.Before(&received.StageTimestamp) {
		t.Errorf("complete: %+v", complete)
	}
	if u := complete.ImpersonatedUser; complete.User.Username != "admin" || u == nil || u.Username != "jane" || u.UID != "7" || !slices.Contains(u.Groups, "system:masters") || !slices.Equal(u.Extra["scopes"], []string{"all"}) {
		t.Errorf("users: %+v as %+v", complete.User, complete.ImpersonatedUser)
	}
}

// TestAuditRotates writes more than the files may hold: the newest lines are there, each whole, in a file and the two before.
func TestAuditRotates(t *testing.T) {
	policy, err := config.ParseAuditPolicy([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: RequestResponse}\n"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) {
		c.Audit = api.Audit{Path: filepath.Join(dir, "audit.log"), Policy: policy, MaxMiB: 1, MaxKeep: 2}
	}})
	maps := e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
	const count = 30 // of two times 100 KB
	for i := range count {
		m := configMap("m" + strconv.Itoa(i))
		m.Data = map[string]string{"a": strings.Repeat("x", 100_000)}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// A line that no file can take does not take others with it.
	for _, name := range []string{"small", "huge"} {
		m := configMap(name)
		m.Data = map[string]string{"a": strings.Repeat("x", map[string]int{"small": 1, "huge": 700_000}[name])}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	last := `"name":"small"`
	e.Eventually("old files are gone, and the last line is there", func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "audit.log"))
		return err == nil && len(files) == 3 && bytes.HasSuffix(data, []byte("\n")) && bytes.Contains(data, []byte(last))
	})
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 1<<20 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes and mode %v", name, info.Size(), info.Mode())
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var ev auditv1.Event
			if err := json.Unmarshal(line, &ev); err != nil || ev.Verb == "" {
				t.Fatalf("%s has a line that is none: %v", name, err)
			}
		}
	}
}
