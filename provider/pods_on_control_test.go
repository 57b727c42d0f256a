package provider

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// TestPodsOnTheControlPlane lets a control-plane host run pods, then none, and pods again. It drains the node and takes
// it out of the cluster before anything of it is removed, and asks for a node's ports where there is to be a node.
func TestPodsOnTheControlPlane(t *testing.T) {
	c := playCluster(t)
	cluster := func(host string) string {
		return fmt.Sprintf(`resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "%s", labels = { zone = "a" }, %s }]
}`, controlAddress, host)
	}
	const name, host = "fairlead_cluster.main", "control_plane.0."
	update := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(name, plancheck.ResourceActionUpdate)}}
	hasNode := func(want bool) resource.TestCheckFunc {
		return func(*terraform.State) error {
			var errs []error
			if node := c.node(t, "one"); (node != nil) != want || node != nil && node.Labels["zone"] != "a" {
				errs = append(errs, fmt.Errorf("the node is %v", node))
			}
			if s := configOf[config.Server](t, c.control, config.ServerFile); (s.Node != nil) != want {
				errs = append(errs, fmt.Errorf("the server's node is %v", s.Node))
			}
			return errors.Join(errs...)
		}
	}
	c.run(t,
		resource.TestStep{
			PreConfig: func() { c.control.takePort("tcp 10250") }, Config: cluster(""),
			ExpectError: regexp.MustCompile(`(?s)Host is not ready.*tcp/10250 is taken by other \(PID 77\)`),
		},
		resource.TestStep{Config: cluster("pods = false"), Check: resource.ComposeAggregateTestCheckFunc(
			hasNode(false), resource.TestCheckResourceAttr(name, host+"pods", "false"))},
		resource.TestStep{
			Config: cluster("pods = true"), ExpectError: regexp.MustCompile(`(?s)tcp/10250 is taken by other`),
		},
		resource.TestStep{
			PreConfig: func() { c.control.takePort("") }, Config: cluster(""), ConfigPlanChecks: update,
			Check: resource.ComposeAggregateTestCheckFunc(hasNode(true), resource.TestCheckResourceAttr(name, host+"node_name", "one")),
		},
		resource.TestStep{
			PreConfig: func() { c.place(t, "web", "one", nil); c.happened() },
			Config:    cluster("pods = false"), ConfigPlanChecks: update,
			Check: resource.ComposeAggregateTestCheckFunc(hasNode(false), func(*terraform.State) error {
				events := c.happened()
				if !isIn(events, "PATCH nodes/one", "POST namespaces/default/pods/web/eviction", "DELETE nodes/one", "cleanup --config "+config.ServerFile+" && rm -rf "+config.DefaultAgentDir) {
					return fmt.Errorf("what happened is %q", events)
				}
				return nil
			}),
		},
		// A name for later is no reason to make the cluster anew.
		resource.TestStep{
			Config: cluster(`pods = false, node_name = "one"`), ConfigPlanChecks: update,
			Check: resource.TestCheckResourceAttr(name, host+"node_name", "one"),
		},
	)
}
