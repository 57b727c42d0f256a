package provider

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// patch changes an object as another field manager.
func patch(t *testing.T, config *rest.Config, path, manager, body string) func() {
	t.Helper()
	return func() {
		clients := kubernetes.NewForConfigOrDie(config)
		err := clients.CoreV1().RESTClient().Patch(types.StrategicMergePatchType).AbsPath(path).
			Param("fieldManager", manager).Body([]byte(body)).Do(context.Background()).Error()
		if err != nil {
			t.Error(err)
		}
	}
}

const (
	deploymentPath = "/apis/apps/v1/namespaces/default/deployments/web"
	configMapPath  = "/api/v1/namespaces/default/configmaps/app"
	servicePath    = "/api/v1/namespaces/default/services/web"
)

func deployment(spec string) string {
	return fmt.Sprintf(`
resource "fairlead_deployment" "web" {
  metadata = { name = "web" }
  spec = {
    %s
    template = {
      metadata = { labels = { app = "web" } }
      spec     = { containers = [{ name = "web", image = "web:1" }] }
    }
  }
}`, spec)
}

func TestOnlyOwnedFieldsDrift(t *testing.T) {
	config := startAPI(t)
	noChange := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
	update := resource.ConfigPlanChecks{
		PreApply:             []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_deployment.web", plancheck.ResourceActionUpdate)},
		PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
	}
	runSteps(t, config,
		resource.TestStep{Config: deployment("")},
		// An autoscaler sets what is not configured, and somebody adds an annotation, a label and a container.
		resource.TestStep{
			PreConfig: patch(t, config, deploymentPath, "autoscaler", `{"metadata":{"annotations":{"note":"x"},"labels":{"x":"y"}},`+
				`"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"sidecar","image":"sidecar:1"}]}}}}`),
			Config: deployment(""), ConfigPlanChecks: noChange,
		},
		// What is configured and was changed is shown, and mended although the other manager owns it now.
		resource.TestStep{
			PreConfig: patch(t, config, deploymentPath, "kubectl-edit", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil:1"}]}}}}`),
			Config:    deployment(""), ConfigPlanChecks: update,
			Check: func(*terraform.State) error {
				d, err := kubernetes.NewForConfigOrDie(config).AppsV1().Deployments("default").Get(context.Background(), "web", metav1.GetOptions{})
				if err != nil {
					return err
				}
				for _, c := range d.Spec.Template.Spec.Containers {
					if c.Name == "web" && c.Image != "web:1" {
						return fmt.Errorf("the image is %s", c.Image)
					}
				}
				if *d.Spec.Replicas != 3 {
					return fmt.Errorf("the replicas of the autoscaler became %d", *d.Spec.Replicas)
				}
				return nil
			},
		},
		// What another manager owns is not taken without being told to.
		resource.TestStep{
			Config:      deployment("replicas = 5"),
			ExpectError: regexp.MustCompile(`(?s)with fairlead_deployment.web.*spec.replicas is owned by another field manager.*"autoscaler".*force_conflicts = true`),
		},
	)
}

func TestForceTakesOver(t *testing.T) {
	config := startAPI(t)
	forced := `
resource "fairlead_config_map" "app" {
  metadata        = { name = "app" }
  data            = { color = "blue", size = "1" }
  force_conflicts = true
}`
	runSteps(t, config,
		resource.TestStep{Config: `resource "fairlead_config_map" "app" {
  metadata = { name = "app" }
  data     = { size = "1" }
}`},
		resource.TestStep{
			PreConfig: patch(t, config, configMapPath, "other", `{"data":{"color":"red"}}`), Config: forced,
			ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			Check: func(*terraform.State) error {
				return expectData(config, map[string]string{"color": "blue", "size": "1"})
			},
		},
		// What leaves the configuration leaves the object; what others put there stays.
		resource.TestStep{
			PreConfig: patch(t, config, configMapPath, "other", `{"data":{"theirs":"kept"}}`),
			Config: `resource "fairlead_config_map" "app" {
  metadata = { name = "app" }
  data     = { color = "blue" }
}`,
			ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			Check: func(*terraform.State) error {
				return expectData(config, map[string]string{"color": "blue", "theirs": "kept"})
			},
		},
	)
}

func expectData(config *rest.Config, want map[string]string) error {
	m, err := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default").Get(context.Background(), "app", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if fmt.Sprint(m.Data) != fmt.Sprint(want) {
		return fmt.Errorf("the data is %v, want %v", m.Data, want)
	}
	return nil
}

func TestGoneIsRecreated(t *testing.T) {
	config := startAPI(t)
	app := `resource "fairlead_config_map" "app" {
  metadata = { name = "app" }
  data     = { a = "1" }
}`
	remove := func() {
		clients := kubernetes.NewForConfigOrDie(config)
		if err := clients.CoreV1().ConfigMaps("default").Delete(context.Background(), "app", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	create := []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_config_map.app", plancheck.ResourceActionCreate)}
	runSteps(t, config,
		resource.TestStep{Config: app},
		resource.TestStep{PreConfig: remove, Config: app, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: create}},
	)
}

func TestServicePorts(t *testing.T) {
	config := startAPI(t)
	service := func(spec string) string {
		return fmt.Sprintf(`resource "fairlead_service" "web" {
  metadata = { name = "web" }
  spec     = { selector = { app = "web" }, %s }
}`, spec)
	}
	spec := tfjsonpath.New("spec")
	runSteps(t, config,
		resource.TestStep{
			Config: service(`ports = [{ port = 80, target_port = "8080" }]`),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectUnknownValue("fairlead_service.web", spec.AtMapKey("cluster_ip")),
				plancheck.ExpectKnownValue("fairlead_service.web", spec.AtMapKey("ports").AtSliceIndex(0).AtMapKey("node_port"), knownvalue.Null()),
				plancheck.ExpectKnownValue("fairlead_service.web", tfjsonpath.New("id"), knownvalue.StringExact("default/web")),
			}},
		},
		// What the server chose stays known when something else changes, and node ports appear with the type.
		resource.TestStep{
			Config: service(`ports = [{ port = 80, target_port = "8081" }]`),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectKnownValue("fairlead_service.web", spec.AtMapKey("cluster_ip"), knownvalue.NotNull()),
			}},
		},
		resource.TestStep{
			Config: service(`type = "NodePort", ports = [{ port = 80, target_port = "8081" }]`),
			ConfigPlanChecks: resource.ConfigPlanChecks{
				PreApply: []plancheck.PlanCheck{
					plancheck.ExpectUnknownValue("fairlead_service.web", spec.AtMapKey("ports").AtSliceIndex(0).AtMapKey("node_port")),
				},
				PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
			},
			Check: resource.TestCheckResourceAttrSet("fairlead_service.web", "spec.ports.0.node_port"),
		},
		// A port keeps its node port when another is put before it; a duplicate key in another order is no drift.
		resource.TestStep{
			Config: service(`type = "NodePort", ports = [{ name = "a", port = 81 }, { name = "b", port = 80, target_port = "8081" }]`),
			ConfigPlanChecks: resource.ConfigPlanChecks{
				PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue("fairlead_service.web", spec.AtMapKey("ports").AtSliceIndex(1).AtMapKey("node_port"), knownvalue.NotNull()),
				},
				PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
			},
		},
		resource.TestStep{
			PreConfig:        reversePorts(t, config),
			Config:           service(`type = "NodePort", ports = [{ name = "a", port = 81 }, { name = "b", port = 80, target_port = "8081" }]`),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
		},
	)
}

func reversePorts(t *testing.T, config *rest.Config) func() {
	return func() {
		services := kubernetes.NewForConfigOrDie(config).CoreV1().Services("default")
		s, err := services.Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		s.Spec.Ports = []corev1.ServicePort{s.Spec.Ports[1], s.Spec.Ports[0]}
		if _, err := services.Update(context.Background(), s, metav1.UpdateOptions{FieldManager: "sorter"}); err != nil {
			t.Error(err)
		}
	}
}

func TestSelectorStaysWhileItSelects(t *testing.T) {
	config := startAPI(t)
	labels := func(labels string) string {
		return fmt.Sprintf(`resource "fairlead_deployment" "web" {
  metadata = { name = "web" }
  spec = {
    template = {
      metadata = { labels = { %s } }
      spec     = { containers = [{ name = "web", image = "web:1" }] }
    }
  }
}`, labels)
	}
	action := func(a plancheck.ResourceActionType) resource.ConfigPlanChecks {
		return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_deployment.web", a)}}
	}
	runSteps(t, config,
		resource.TestStep{Config: labels(`app = "web"`)},
		resource.TestStep{Config: labels(`app = "web", version = "2"`), ConfigPlanChecks: action(plancheck.ResourceActionUpdate),
			Check: resource.TestCheckResourceAttr("fairlead_deployment.web", "spec.selector.match_labels.%", "1")},
		resource.TestStep{Config: labels(`app = "shop"`), ConfigPlanChecks: action(plancheck.ResourceActionDestroyBeforeCreate)},
	)
}

func TestEqualMeaningIsNoChange(t *testing.T) {
	config := startAPI(t)
	limits := func(cpu, memory string) string {
		return fmt.Sprintf(`resource "fairlead_deployment" "web" {
  metadata = { name = "web" }
  spec = {
    template = {
      metadata = { labels = { app = "web" } }
      spec     = { containers = [{ name = "web", image = "web:1", resources = { limits = { cpu = "%s", memory = "%s" } } }] }
    }
  }
}`, cpu, memory)
	}
	runSteps(t, config,
		resource.TestStep{Config: limits("1000m", "1Gi")},
		resource.TestStep{Config: limits("1", "1024Mi"), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
		resource.TestStep{Config: limits("1", "2Gi"), ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply:             []plancheck.PlanCheck{plancheck.ExpectResourceAction("fairlead_deployment.web", plancheck.ResourceActionUpdate)},
			PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		}},
	)
}
