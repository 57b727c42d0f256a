package provider

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// recordFile lists on a host the packages that came with us.
const recordFile = "/var/lib/fairlead/installed"

// protect has no pod with the label evicted.
func (c *playedCluster) protect(t *testing.T, name string) {
	t.Helper()
	one := intstr.FromInt32(1)
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	budget.Spec.MinAvailable, budget.Spec.Selector = &one, &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	if _, err := c.clients.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestOnDestroy removes a node in all the ways that on_destroy has.
func TestOnDestroy(t *testing.T) {
	c := playCluster(t)
	with := func(node string) string {
		return fmt.Sprintf(`resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "%s", pods = false }]
}
%s`, controlAddress, node)
	}
	node := func(settings string) string {
		return with(fmt.Sprintf("resource \"fairlead_node\" \"worker\" {\n  cluster = fairlead_cluster.main.id\n  address = \"%s\"\n  %s\n}", workerAddress, settings))
	}
	gone := with("")
	// happened wants these events and no others.
	happened := func(want ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			if got := c.happened(); !slices.Equal(got, want) {
				return fmt.Errorf("what happened is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			return nil
		}
	}
	const (
		cleanup = "two: FAIRLEAD_LOCKED=1 " + config.BinaryPath + " cleanup"
		files   = "two: remove files"
	)
	stays := func() {
		if n := c.node(t, deadNode); n == nil || !n.Spec.Unschedulable {
			t.Errorf("the node is not there any more, or not cordoned: %v", n)
		}
		if _, ok := c.worker.Files()[config.AgentFile]; !ok {
			t.Error("the host was emptied before its node was drained")
		}
		c.happened()
	}
	defer func() {
		if got := c.happened(); slices.ContainsFunc(got, func(e string) bool { return !strings.HasPrefix(e, "one: ") }) || !isIn(got, "one: remove packages", "one: remove files") {
			t.Errorf("what happened at last is %q", got)
		}
	}()
	c.run(t,
		// Pods that do not go hold up the drain, and nothing else is done.
		resource.TestStep{Config: node("name = \"dead\"\n  on_destroy = { drain_timeout = \"2s\" }")},
		resource.TestStep{
			PreConfig: func() {
				c.protect(t, "kept")
				c.place(t, "kept", deadNode, map[string]string{"app": "kept"})
				c.place(t, "stuck", deadNode, nil)
			},
			Config: gone, ExpectError: regexp.MustCompile(`(?s)cannot drain node dead within 2s: 2 pods are still there.*stays\s+cordoned` +
				`.*- default/kept:.*disruption\s+budget\s+kept\s+needs\s+1.*- default/stuck: is being deleted.*drain_timeout = "…".*drain\s+=\s+false`),
		},
		// Without a drain, pods are not asked for.
		resource.TestStep{PreConfig: stays, Config: node("name = \"dead\"\n  on_destroy = { drain = false }"), Check: happened()},
		resource.TestStep{Config: gone, Check: happened("DELETE nodes/dead", cleanup, files)},
		// A host that keeps its software is not touched, and joins again.
		resource.TestStep{Config: node("on_destroy = { uninstall = false }")},
		resource.TestStep{
			PreConfig: func() { c.place(t, "first", "two", nil); c.happened() }, Config: gone,
			Check: happened("PATCH nodes/two", "POST namespaces/default/pods/first/eviction", "DELETE nodes/two"),
		},
		resource.TestStep{Config: node("on_destroy = { keep_packages = true }")},
		resource.TestStep{
			PreConfig: func() {
				c.worker.SetFile(recordFile, "package containerd\n", 0o644)
				c.place(t, "second", "two", nil)
				c.happened()
			},
			Config: gone,
			Check:  happened("PATCH nodes/two", "POST namespaces/default/pods/second/eviction", "DELETE nodes/two", cleanup, files),
		},
		resource.TestStep{PreConfig: func() { c.control.SetFile(recordFile, "package containerd\n", 0o644); c.happened() }, Config: gone, Check: happened()},
	)
}
