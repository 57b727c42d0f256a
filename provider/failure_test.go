package provider

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func deploymentOf(image string) string {
	return fmt.Sprintf(`
resource "fairlead_deployment" "web" {
  metadata = { name = "web" }
  spec = {
    replicas = 2
    template = {
      metadata = { labels = { app = "web" } }
      spec     = { containers = [{ name = "main", image = "%s" }] }
    }
  }
}`, image)
}

func TestFailedRolloutSaysWhy(t *testing.T) {
	config := startAPI(t)
	update := resource.ConfigPlanChecks{
		PreApply:             []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_deployment.web", plancheck.ResourceActionUpdate)},
		PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
	}
	crash := regexp.MustCompile(`(?s)Cannot roll out deployment default/web.*container "main".*CrashLoopBackOff.*Exit code: 3.*Restarts:\s+3.*Events of the pod`)
	runSteps(t, config,
		resource.TestStep{Config: deploymentOf("web:1")},
		resource.TestStep{Config: deploymentOf("crash:1"), ExpectError: crash},
		// The failed rollout is not forgotten: the same configuration is waited for again.
		resource.TestStep{Config: deploymentOf("crash:1"), PlanOnly: true, ExpectNonEmptyPlan: true},
		resource.TestStep{Config: deploymentOf("crash:1"), ExpectError: crash},
		resource.TestStep{Config: deploymentOf("missing:1"), ExpectError: regexp.MustCompile(`(?s)InvalidImageName.*missing:1.*no such name`)},
		resource.TestStep{Config: deploymentOf("web:2"), ConfigPlanChecks: update},
	)
}

func TestFailedCreateKeepsWhatExists(t *testing.T) {
	config := startAPI(t)
	runSteps(t, config,
		resource.TestStep{Config: deploymentOf("crash:1"), ExpectError: regexp.MustCompile(`(?s)CrashLoopBackOff.*tainted`)},
		resource.TestStep{Config: deploymentOf("web:1"), Check: resource.TestCheckResourceAttr("fairlead_deployment.web", "wait_for_rollout", "true")},
	)
}

func TestMissingNamespace(t *testing.T) {
	runSteps(t, startAPI(t), resource.TestStep{
		Config: `
resource "fairlead_config_map" "web" {
  metadata = { name = "web", namespace = "none" }
}`,
		ExpectError: regexp.MustCompile(`(?s)Cannot create config map none/web.*namespaces "none"\s+not found.*The namespace does not exist: make it with`),
	})
}

func TestExistingObjectIsNotAdopted(t *testing.T) {
	config := startAPI(t)
	app := `resource "fairlead_config_map" "app" {
  metadata = { name = "app" }
  data     = { a = "1" }
}`
	create := func() {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "app"}, Data: map[string]string{"theirs": "1"}}
		if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default").Create(context.Background(), m, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	runSteps(t, config, resource.TestStep{
		PreConfig: create, Config: app,
		ExpectError: regexp.MustCompile(`(?s)Cannot create config map default/app: it exists already.*terraform import fairlead_config_map.NAME 'default/app'`),
	})
	if err := expectData(config, map[string]string{"theirs": "1"}); err != nil {
		t.Error(err)
	}
}

func TestUnreachableIsNotGone(t *testing.T) {
	config := startAPI(t)
	app := `resource "fairlead_config_map" "app" {
  metadata = { name = "app" }
  data     = { a = "1" }
}`
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	target := &switched{config: config}
	runStepsWith(t, target,
		resource.TestStep{Config: app},
		resource.TestStep{
			PreConfig: func() { target.set(&rest.Config{Host: closed}) }, Config: app,
			ExpectError: regexp.MustCompile(`(?s)Cannot read config map default/app.*connection refused`),
		},
		resource.TestStep{
			PreConfig: func() { target.set(config) }, Config: app,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
		},
	)
}

func TestObjectsGoWithTheirCluster(t *testing.T) {
	config := startAPI(t)
	target := &switched{config: config}
	app := `resource "fairlead_config_map" "app" { metadata = { name = "app" } }`
	runStepsWith(t, target,
		resource.TestStep{Config: app},
		resource.TestStep{PreConfig: func() { target.set(nil) }, RefreshState: true, ExpectNonEmptyPlan: true},
	)
}

func TestUnknownClusterIsNotDialled(t *testing.T) {
	config := startAPI(t)
	runSteps(t, config, resource.TestStep{
		Config: `
resource "terraform_data" "cluster" { input = "main@192.0.2.1" }

resource "fairlead_config_map" "app" {
  cluster  = terraform_data.cluster.output
  metadata = { name = "app" }
  data     = { a = "1" }
}`,
		ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
		Check:            resource.TestCheckResourceAttr("fairlead_config_map.app", "id", "main@192.0.2.1/default/app"),
	})
}

func TestPlanRefusesWhatTheAPIWould(t *testing.T) {
	config := startAPI(t)
	for want, body := range map[string]string{
		`(?s)Invalid name.*metadata.name: a lowercase`: `metadata = { name = "Web_1" }
  data = {}`,
		`(?s)Invalid cluster.*cluster: it has no NAME@`: `cluster = "prod"
  metadata = { name = "web" }`,
		`(?s)Invalid labels.*metadata.labels\["app"\]:.*63`: `metadata = { name = "web", labels = { app = "` + fmt.Sprintf("%064d", 1) + `" } }`,
		`(?s)Invalid data.*valid config key`: `metadata = { name = "web" }
  data = { "a b" = "1" }`,
		`(?s)Invalid binary_data.*base64`: `metadata = { name = "web" }
  binary_data = { a = "%%" }`,
	} {
		runSteps(t, config, resource.TestStep{
			Config: fmt.Sprintf("resource \"fairlead_config_map\" \"web\" {\n  %s\n}", body), PlanOnly: true, ExpectError: regexp.MustCompile(want),
		})
	}
}

func TestSecretIsNowhereInState(t *testing.T) {
	config := startAPI(t)
	secret := func(value string, version int) string {
		return fmt.Sprintf(`resource "fairlead_secret" "web" {
  metadata        = { name = "web" }
  data_wo         = { password = "%s" }
  data_wo_version = %d
}`, value, version)
	}
	holds := func(want string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			if regexp.MustCompile("hunter|aHVudGVy").MatchString(s.String()) {
				return fmt.Errorf("the secret is in the state: %s", s)
			}
			secret, err := kubernetes.NewForConfigOrDie(config).CoreV1().Secrets("default").Get(context.Background(), "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got := string(secret.Data["password"]); got != want {
				return fmt.Errorf("the password is %q, want %q", got, want)
			}
			return nil
		}
	}
	empty := []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}
	update := []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_secret.web", plancheck.ResourceActionUpdate)}
	runSteps(t, config,
		resource.TestStep{Config: secret("hunter2", 1), Check: holds("hunter2"), ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: empty}},
		resource.TestStep{Config: secret("hunter3", 1), Check: holds("hunter2"), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: empty}},
		resource.TestStep{Config: secret("hunter3", 2), Check: holds("hunter3"), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: update, PostApplyPostRefresh: empty}},
		// Somebody else changes the value: seen without knowing it, and mended.
		resource.TestStep{
			PreConfig: patch(t, config, "/api/v1/namespaces/default/secrets/web", "kubectl-edit", `{"data":{"password":"ZXZpbA=="}}`),
			Config:    secret("hunter3", 2), Check: holds("hunter3"), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: update, PostApplyPostRefresh: empty},
		},
		resource.TestStep{ResourceName: "fairlead_secret.web", ImportState: true, ImportStateVerify: true},
	)
}

func TestDeletionThatHangsSaysWhy(t *testing.T) {
	config := startAPI(t)
	app := `resource "fairlead_config_map" "app" {
  metadata = { name = "app", finalizers = ["example.com/hold"] }
  timeouts = { delete = "1s" }
}`
	other := `resource "fairlead_config_map" "other" { metadata = { name = "other" } }`
	runSteps(t, config,
		resource.TestStep{Config: app},
		resource.TestStep{Config: other, ExpectError: regexp.MustCompile(`(?s)Cannot delete config map default/app in time.*finalizers: \[example.com/hold\]`)},
		resource.TestStep{PreConfig: patch(t, config, configMapPath, "holder", `{"metadata":{"finalizers":null}}`), Config: other},
	)
}

func TestImmutableIsReplaced(t *testing.T) {
	config := startAPI(t)
	frozen := func(value string) string {
		return fmt.Sprintf(`resource "fairlead_config_map" "app" {
  metadata  = { name = "app" }
  data      = { a = "%s" }
  immutable = true
}`, value)
	}
	replace := []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_config_map.app", plancheck.ResourceActionDestroyBeforeCreate)}
	runSteps(t, config,
		resource.TestStep{Config: frozen("1")},
		resource.TestStep{Config: frozen("2"), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: replace}},
	)
}
