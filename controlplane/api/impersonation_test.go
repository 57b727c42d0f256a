package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// TestImpersonations sends as somebody else what was sent to a kube-apiserver, by senders with the plain right, with each mode of
// constrained impersonation, and with parts of both.
func TestImpersonations(t *testing.T) {
	data, err := os.ReadFile("testdata/impersonations.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all recorded.Impersonations
	if err := yaml.UnmarshalStrict(data, &all); err != nil {
		t.Fatal(err)
	}
	e := apitest.Start(t, apitest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := recorded.Prepare(ctx, e.HTTP(), e.Address); err != nil {
		t.Fatal(err)
	}
	answers, err := all.Ask(ctx, e.Admin())
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range all.Requests {
		for _, d := range r.Answer.Differences(answers[i], nil) {
			t.Errorf("%s %s by %s as %s, uid %q, groups %q, extra %q: %s", r.Method, r.Path, r.By, r.User, r.UID, r.Groups, r.Extra, d)
		}
	}
}

// TestImpersonationOfNobody has the headers of somebody without a name.
func TestImpersonationOfNobody(t *testing.T) {
	e := apitest.Start(t, apitest.Options{NoAdmission: true})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.Address+"/api/v1/namespaces", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Impersonate-Group", "devs")
	resp, err := e.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var st metav1.Status
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		t.Fatal(err)
	}
	if want := `requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string(nil)} without impersonating a user name`; st.Code != http.StatusBadRequest || st.Message != want {
		t.Errorf("got %d %s", st.Code, st.Message)
	}
}

// TestAuditOfImpersonation has the log say by which mode somebody was impersonated, and nothing of it for the plain right.
func TestAuditOfImpersonation(t *testing.T) {
	log := &lines{}
	e := apitest.Start(t, apitest.Options{Audit: log})
	// In this order: the way of the last time is tried first, and the plain right would do for jane.
	for _, as := range []rest.ImpersonationConfig{{UserName: "jane"}, {UserName: "system:kim", Groups: []string{"system:masters"}}} {
		c := e.Admin()
		c.Impersonate = as
		_, _ = e.Kube(c).CoreV1().ConfigMaps("default").Get(t.Context(), "x", metav1.GetOptions{})
	}
	constraints := map[string]string{}
	e.Eventually("both are logged", func() bool {
		for _, text := range log.all() {
			var ev auditv1.Event
			if json.Unmarshal([]byte(text), &ev) != nil || ev.ImpersonatedUser == nil || !strings.Contains(ev.RequestURI, "configmaps") {
				continue
			}
			constraints[ev.ImpersonatedUser.Username] = ""
			if ev.AuthenticationMetadata != nil {
				constraints[ev.ImpersonatedUser.Username] = ev.AuthenticationMetadata.ImpersonationConstraint
			}
		}
		return len(constraints) == 2
	})
	if constraints["jane"] != "impersonate:user-info" || constraints["system:kim"] != "" {
		t.Errorf("the log says %q", constraints)
	}
}
