package provider

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestDestroyWithADeadNode destroys a deployment and its namespace while the pods are on a node that does not answer. The
// destroy does not wait for what nobody will do; the cluster has been told all the same.
func TestDestroyWithADeadNode(t *testing.T) {
	was := abandonedAfter
	abandonedAfter = time.Second
	t.Cleanup(func() { abandonedAfter = was })
	config := startAPI(t)
	clients := kubernetes.NewForConfigOrDie(config)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: deadNode}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown"}}
	if _, err := clients.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	runSteps(t, config,
		resource.TestStep{Config: `
resource "fairlead_namespace" "shop" {
  metadata = { name = "shop" }
}

resource "fairlead_deployment" "web" {
  metadata         = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  wait_for_rollout = false
  spec = {
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        node_name                        = "dead"
        termination_grace_period_seconds = 1
        containers                       = [{ name = "web", image = "web:1" }]
      }
    }
  }
}`},
		resource.TestStep{
			Config: `# nothing is left`,
			Check: func(*terraform.State) error {
				d, err := clients.AppsV1().Deployments("shop").Get(context.Background(), "web", metav1.GetOptions{})
				if err == nil && d.DeletionTimestamp == nil {
					err = errors.New("the deployment is not being deleted")
				}
				n, nerr := clients.CoreV1().Namespaces().Get(context.Background(), "shop", metav1.GetOptions{})
				if nerr == nil && n.Status.Phase != corev1.NamespaceTerminating {
					nerr = errors.New("the namespace is not being deleted")
				}
				return errors.Join(err, nerr)
			},
		},
	)
}
