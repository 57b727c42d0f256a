package provider

import (
	"context"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestImportOwn imports objects that Terraform applied: their state is the same.
func TestImportOwn(t *testing.T) {
	steps := []resource.TestStep{{Config: web}}
	for _, name := range []string{"fairlead_namespace.shop", "fairlead_config_map.web", "fairlead_deployment.web", "fairlead_service.web"} {
		steps = append(steps, resource.TestStep{
			ResourceName: name, ImportState: true, ImportStateVerify: true,
			// Empty collections and zeros are not stored by the API.
			ImportStateVerifyIgnore: []string{"spec.template.spec.node_selector", "spec.template.spec.host_network", "spec.template.spec.containers.0.env.1.value",
				"spec.template.spec.containers.0.resources"},
		})
	}
	runSteps(t, startAPI(t), steps...)
}

// manifests are objects as another client makes them, and foreign the configuration that says the same.
const manifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        ports: [{containerPort: 8080}]
        resources: {limits: {cpu: 500m}}
        env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        readinessProbe: {httpGet: {port: 8080}}
        volumeMounts: [{name: conf, mountPath: /conf}, {name: tmp, mountPath: /tmp}]
      volumes: [{name: conf, configMap: {name: conf}}, {name: tmp, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}, ]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {a: "1"}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
`

const foreign = `
import {
  to = fairlead_deployment.web
  id = "default/web"
}
import {
  to = fairlead_service.web
  id = "default/web"
}
import {
  to = fairlead_config_map.conf
  id = "default/conf"
}
import {
  to = fairlead_namespace.team
  id = "team"
}
resource "fairlead_deployment" "web" {
  metadata = { name = "web", labels = { app = "web" } }
  spec = {
    replicas = 2
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        containers = [{
          name  = "web"
          image = "web:1"
          ports = [{ container_port = 8080 }]
          resources       = { limits = { cpu = "0.5" } }
          env             = [{ name = "POD", value_from = { field_ref = { field_path = "metadata.name" } } }]
          readiness_probe = { http_get = { port = 8080 } }
          volume_mounts   = [{ name = "conf", mount_path = "/conf" }, { name = "tmp", mount_path = "/tmp" }]
        }]
        volumes = [{ name = "conf", config_map = { name = "conf" } }, { name = "tmp", empty_dir = {} }]
      }
    }
  }
}
resource "fairlead_service" "web" {
  metadata = { name = "web" }
  spec     = { selector = { app = "web" }, ports = [{ port = 80, target_port = 8080 }] }
}
resource "fairlead_config_map" "conf" {
  metadata = { name = "conf" }
  data     = { a = "1" }
}
resource "fairlead_namespace" "team" {
  metadata = { name = "team" }
}
`

func TestImportForeign(t *testing.T) {
	config := startAPI(t)
	runSteps(t, config, resource.TestStep{
		PreConfig: func() { createAll(t, config, manifests) },
		Config:    foreign,
		ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("fairlead_deployment.web", plancheck.ResourceActionNoop),
				plancheck.ExpectResourceAction("fairlead_service.web", plancheck.ResourceActionNoop),
				plancheck.ExpectResourceAction("fairlead_config_map.conf", plancheck.ResourceActionNoop),
				plancheck.ExpectResourceAction("fairlead_namespace.team", plancheck.ResourceActionNoop),
			},
			PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		},
	})
}

func createAll(t *testing.T, config *rest.Config, text string) {
	t.Helper()
	clients := kubernetes.NewForConfigOrDie(config)
	paths := map[string]string{
		"Deployment": "/apis/apps/v1/namespaces/default/deployments", "Service": "/api/v1/namespaces/default/services",
		"ConfigMap": "/api/v1/namespaces/default/configmaps", "Namespace": "/api/v1/namespaces",
	}
	for _, part := range strings.Split(text, "\n---\n") {
		body, err := yaml.ToJSON([]byte(part))
		if err != nil {
			t.Error(err)
			return
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(part), &meta); err != nil {
			t.Error(err)
			return
		}
		err = clients.CoreV1().RESTClient().Post().AbsPath(paths[meta.Kind]).Param("fieldManager", "kubectl-create").
			SetHeader("Content-Type", "application/json").Body(body).Do(context.Background()).Error()
		if err != nil {
			t.Errorf("%s: %v", meta.Kind, err)
		}
	}
}
