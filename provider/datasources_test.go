package provider

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

// TestDataSources reads a cluster, its nodes and pods, all of them and some.
func TestDataSources(t *testing.T) {
	c := playCluster(t)
	members := fmt.Sprintf(`resource "fairlead_cluster" "main" {
  name          = "prod"
  pod_cidr      = "10.244.0.0/16"
  domain        = "prod.internal"
  control_plane = [{ address = "%s" }]
}

resource "fairlead_node" "worker" {
  cluster = fairlead_cluster.main.id
  address = "%s"
  labels  = { zone = "a" }
}
`, controlAddress, workerAddress)
	const sources = `
data "fairlead_cluster" "main" {
  id = fairlead_cluster.main.id
}

data "fairlead_nodes" "all" {
  cluster    = fairlead_cluster.main.id
}

data "fairlead_nodes" "some" {
  cluster        = fairlead_cluster.main.id
  label_selector = "zone in (a, b)"
}

data "fairlead_pods" "all" {
  cluster = fairlead_cluster.main.id
}

data "fairlead_pods" "of_namespace" {
  cluster   = fairlead_cluster.main.id
  namespace = "kube-system"
}

data "fairlead_pods" "by_label" {
  cluster        = fairlead_cluster.main.id
  label_selector = "app=web"
}

data "fairlead_pods" "by_both" {
  cluster        = fairlead_cluster.main.id
  label_selector = "app"
  field_selector = "spec.nodeName=two"
}
`
	prepare := func() {
		c.place(t, "web", "one", map[string]string{"app": "web"})
		c.place(t, "db", "two", map[string]string{"app": "db"})
		c.place(t, "other", "two", nil)
		_, err := c.clients.CoreV1().Nodes().Patch(t.Context(), "two", types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
		if err != nil {
			t.Error(err)
		}
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
			node := c.node(t, "two")
			node.Status.Capacity = corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("4"), corev1.ResourceMemory: apiresource.MustParse("8Gi")}
			node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("3500m"), corev1.ResourceMemory: apiresource.MustParse("7Gi")}
			node.Status.Conditions[0].Status = corev1.ConditionFalse
			_, err := c.clients.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	has := func(source string, want map[string]string) resource.TestCheckFunc {
		var checks []resource.TestCheckFunc
		for name, value := range want {
			checks = append(checks, resource.TestCheckResourceAttr("data."+source, name, value))
		}
		return resource.ComposeAggregateTestCheckFunc(checks...)
	}
	own, err := ownBinary()
	if err != nil {
		t.Fatal(err)
	}
	c.run(t,
		resource.TestStep{Config: members},
		resource.TestStep{
			Config:      members + "data \"fairlead_cluster\" \"other\" {\n  id = \"other@" + controlAddress + "\"\n}",
			ExpectError: regexp.MustCompile(`(?s)No such cluster.*does not run the control plane of cluster\s+other`),
		},
		resource.TestStep{PreConfig: prepare, Config: members + sources, Check: resource.ComposeAggregateTestCheckFunc(
			has("fairlead_cluster.main", map[string]string{
				"name": "prod", "version": own.Version, "api_server": "https://" + controlAddress + ":6443", "ca_certificate": string(c.keys.Authority.PEM()),
				"pod_cidr": "10.244.0.0/16", "service_cidr": "10.96.0.0/16", "domain": "prod.internal",
			}),
			has("fairlead_nodes.all", map[string]string{
				"nodes.#": "2", "nodes.0.name": "one", "nodes.0.ready": "true", "nodes.0.unschedulable": "false", "nodes.0.address": controlAddress, "nodes.1.name": "two",
			}),
			has("fairlead_nodes.some", map[string]string{
				"nodes.#": "1", "nodes.0.name": "two", "nodes.0.ready": "false", "nodes.0.unschedulable": "true", "nodes.0.address": workerAddress,
				"nodes.0.version": "v1.36.0" + version.NodeSeparator + own.Version, "nodes.0.cpu": "3500m", "nodes.0.memory": "7Gi", "nodes.0.labels.%": "1", "nodes.0.labels.zone": "a",
			}),
			resource.TestMatchResourceAttr("data.fairlead_nodes.some", "nodes.0.pod_cidr", regexp.MustCompile(`^10\.244\.\d+\.0/24$`)),
			has("fairlead_pods.all", map[string]string{"pods.#": "3", "pods.0.name": "db", "pods.1.name": "other", "pods.1.labels.%": "0", "pods.2.name": "web"}),
			has("fairlead_pods.of_namespace", map[string]string{"pods.#": "0"}),
			has("fairlead_pods.by_label", map[string]string{
				"pods.#": "1", "pods.0.namespace": "default", "pods.0.name": "web", "pods.0.node": "one", "pods.0.restarts": "0", "pods.0.labels.%": "1", "pods.0.labels.app": "web",
			}),
			has("fairlead_pods.by_both", map[string]string{"pods.#": "1", "pods.0.name": "db"}),
		)},
	)
}

// TestDataSourcesAreCheckedAtPlan wants what no API would take on the attribute.
func TestDataSourcesAreCheckedAtPlan(t *testing.T) {
	s := serve(t, nil)
	schema, err := s.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ kind, attribute, value, says string }{
		{"fairlead_pods", "label_selector", "app=web,,", "is not a label selector"},
		{"fairlead_pods", "label_selector", "app in (web, db),!legacy", ""},
		{"fairlead_pods", "field_selector", "nodeName", "is not a field selector"},
		{"fairlead_pods", "field_selector", "spec.nodeName=one,status.phase!=Running", ""},
		{"fairlead_pods", "namespace", "a b", "RFC 1123 label"},
		{"fairlead_pods", "cluster", "prod", "no NAME@"},
		{"fairlead_nodes", "label_selector", "zone in a", "is not a label selector"},
		{"fairlead_nodes", "cluster", "prod", "no NAME@"},
		{"fairlead_cluster", "id", "prod", "no NAME@"},
	} {
		typ := schema.DataSourceSchemas[tc.kind].ValueType().(tftypes.Object)
		resp, err := s.ValidateDataResourceConfig(t.Context(), &tfprotov6.ValidateDataResourceConfigRequest{
			TypeName: tc.kind, Config: dynamic(t, filled(typ, map[string]tftypes.Value{tc.attribute: text(tc.value)})),
		})
		if err != nil {
			t.Fatal(err)
		}
		at := tc.attribute
		if tc.says == "" {
			at = ""
		}
		expectOne(t, resp.Diagnostics, at, tc.says)
	}
}

// TestPodsState wants of a pod what keeps it from running, whatever that is.
func TestPodsState(t *testing.T) {
	crashing := corev1.ContainerStatus{RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}
	ended := func(code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{RestartCount: 1, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: code}}}
	}
	waits := corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}}
	runs := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	for name, tc := range map[string]struct {
		status   corev1.PodStatus
		reason   string
		restarts int64
		ready    bool
	}{
		"runs": {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{runs}, InitContainerStatuses: []corev1.ContainerStatus{ended(0)},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}, "", 1, true},
		"crashes":        {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{runs, crashing, ended(1)}}, "CrashLoopBackOff", 4, false},
		"ended":          {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended(7)}}, "Error (exit code 7)", 1, false},
		"init container": {corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{crashing}, ContainerStatuses: []corev1.ContainerStatus{waits}}, "CrashLoopBackOff", 3, false},
		"evicted":        {corev1.PodStatus{Reason: "Evicted", ContainerStatuses: []corev1.ContainerStatus{ended(137)}}, "Evicted", 1, false},
		"on no node": {corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}},
			"Unschedulable", 0, false},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: "one"}, Status: tc.status}
		pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "10.244.0.2"
		got := podData(pod)
		if got.Reason.ValueString() != tc.reason || got.Restarts.ValueInt64() != tc.restarts || got.Ready.ValueBool() != tc.ready {
			t.Errorf("%s: reason %s, restarts %s, ready %s", name, got.Reason, got.Restarts, got.Ready)
		}
		if got.Namespace.ValueString() != "shop" || got.Phase.ValueString() != "Running" || got.Address.ValueString() != "10.244.0.2" || got.Node.ValueString() != "one" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
