package provider

import (
	"context"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const web = `
resource "fairlead_namespace" "shop" {
  metadata = { name = "shop", labels = { team = "a" } }
}

resource "fairlead_config_map" "web" {
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  data     = { greeting = "hello", "app.conf" = "a = 1\n" }
}

resource "fairlead_secret" "web" {
  metadata        = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  data_wo         = { password = "hunter2" }
  binary_data_wo  = { key = "AAEC" }
  data_wo_version = 1
}

resource "fairlead_deployment" "web" {
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    replicas = 2
    strategy = { rolling_update = { max_surge = 1, max_unavailable = "0" } }
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        containers = [{
          name  = "web"
          image = "web:1"
          ports = [{ name = "http", container_port = 8080 }, { name = "metrics", container_port = 9090 }]
          env = [
            { name = "GREETING", value_from = { config_map_key_ref = { name = fairlead_config_map.web.metadata.name, key = "greeting" } } },
            { name = "EMPTY", value = "" },
          ]
          resources       = { requests = { cpu = "0.1", memory = "1024Mi" }, limits = { cpu = "1000m" } }
          volume_mounts   = [{ name = "tmp", mount_path = "/tmp" }, { name = "conf", mount_path = "/conf", read_only = true }]
          readiness_probe = { http_get = { path = "/", port = "http" }, period_seconds = 5 }
        }]
        volumes = [
          { name = "tmp", empty_dir = {} },
          { name = "conf", config_map = { name = fairlead_config_map.web.metadata.name } },
        ]
        node_selector = {}
        host_network  = false
      }
    }
  }
}

resource "fairlead_service" "web" {
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    type     = "NodePort"
    selector = { app = "web" }
    ports    = [{ name = "http", port = 80, target_port = 8080 }]
  }
}
`

func TestWorkloads(t *testing.T) {
	config := startAPI(t)
	clients := kubernetes.NewForConfigOrDie(config)
	empty := resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
	runSteps(t, config,
		resource.TestStep{Config: web, ConfigPlanChecks: empty, Check: resource.ComposeAggregateTestCheckFunc(
			resource.TestCheckResourceAttr("fairlead_deployment.web", "id", "shop/web"),
			resource.TestCheckResourceAttr("fairlead_deployment.web", "spec.selector.match_labels.app", "web"),
			resource.TestCheckResourceAttr("fairlead_deployment.web", "spec.template.spec.containers.0.resources.limits.cpu", "1000m"),
			resource.TestCheckResourceAttrSet("fairlead_service.web", "spec.cluster_ip"),
			resource.TestCheckResourceAttrSet("fairlead_service.web", "spec.ports.0.node_port"),
			resource.TestCheckNoResourceAttr("fairlead_secret.web", "data_wo"),
		)},
	)
	_, err := clients.CoreV1().Namespaces().Get(context.Background(), "shop", metav1.GetOptions{})
	if err == nil {
		t.Error("the namespace is still there after the destroy")
	}
}
