package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestLabelsAndTaints configures those of a node and of a control-plane host beside others', and has somebody change them.
func TestLabelsAndTaints(t *testing.T) {
	c := playCluster(t)
	both := func(settings string) string {
		return fmt.Sprintf(`resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "%[1]s", %[3]s }]
}

locals { settings = { %[3]s } }

resource "fairlead_node" "worker" {
  cluster = fairlead_cluster.main.id
  address = "%[2]s"
  labels  = try(local.settings.labels, null)
  taints  = try(local.settings.taints, null)
}`, controlAddress, workerAddress, settings)
	}
	// others changes both nodes as somebody else does.
	others := func(change func(*corev1.Node)) func() {
		return func() {
			for _, name := range []string{"one", "two"} {
				node := c.node(t, name)
				change(node)
				patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": node.Labels}, "spec": map[string]any{"taints": node.Spec.Taints}})
				if err == nil {
					_, err = c.clients.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
	}
	has := func(labels map[string]string, taints ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			for _, name := range []string{"one", "two"} {
				node := c.node(t, name)
				var got []string
				for _, taint := range node.Spec.Taints {
					got = append(got, formatTaint(taint))
				}
				slices.Sort(got)
				if fmt.Sprint(node.Labels) != fmt.Sprint(labels) || !slices.Equal(got, taints) {
					return fmt.Errorf("node %s has labels %v and taints %q, want %v and %q", name, node.Labels, got, labels, taints)
				}
			}
			return nil
		}
	}
	action := func(a plancheck.ResourceActionType) resource.ConfigPlanChecks {
		return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
			plancheck.ExpectResourceAction("fairlead_cluster.main", a), plancheck.ExpectResourceAction("fairlead_node.worker", a),
		}}
	}
	const first = `labels = { zone = "a", tier = "web" }, taints = ["dedicated=x:NoSchedule", "bare=:NoExecute", "soft:PreferNoSchedule"]`
	const second = `labels = { zone = "b" }, taints = ["dedicated=y:NoSchedule", "soft:PreferNoSchedule"]`
	c.run(t,
		resource.TestStep{Config: both(first), Check: has(map[string]string{"zone": "a", "tier": "web"}, "bare:NoExecute", "dedicated=x:NoSchedule", "soft:PreferNoSchedule")},
		// What others add is theirs, also where it has the key of ours and another effect.
		resource.TestStep{
			PreConfig: others(func(n *corev1.Node) {
				n.Labels["team"] = "ops"
				n.Spec.Taints = append(n.Spec.Taints, parseTaint("dedicated=ops:NoExecute"), parseTaint("repair:NoSchedule"))
			}),
			Config: both(first), ConfigPlanChecks: action(plancheck.ResourceActionNoop),
		},
		resource.TestStep{Config: both(second), ConfigPlanChecks: action(plancheck.ResourceActionUpdate),
			Check: has(map[string]string{"zone": "b", "team": "ops"}, "dedicated=ops:NoExecute", "dedicated=y:NoSchedule", "repair:NoSchedule", "soft:PreferNoSchedule")},
		// What they change of ours is shown, and mended.
		resource.TestStep{
			PreConfig: others(func(n *corev1.Node) {
				n.Labels["zone"] = "c"
				n.Spec.Taints = []corev1.Taint{parseTaint("dedicated=z:NoSchedule"), parseTaint("repair:NoSchedule")}
			}),
			Config: both(second), ConfigPlanChecks: action(plancheck.ResourceActionUpdate),
			Check: has(map[string]string{"zone": "b", "team": "ops"}, "dedicated=y:NoSchedule", "repair:NoSchedule", "soft:PreferNoSchedule"),
		},
		resource.TestStep{Config: both(""), ConfigPlanChecks: action(plancheck.ResourceActionUpdate), Check: has(map[string]string{"team": "ops"}, "repair:NoSchedule")},
	)
}
