package provider

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/rollout"
)

// newDeployment makes fairlead_deployment.
var newDeployment = workload(kube.Descriptor{
	Object:     &appsv1.Deployment{},
	Namespaced: true,
	Description: "A set of equal pods that are kept running and replaced step by step when their template changes. " +
		"`spec.selector` defaults to the labels of the template.",
	Required:    []string{"spec", "spec.template.metadata", "spec.template.spec"},
	Defaults:    []kube.Default{{Path: "spec.selector", Value: kube.SelectorFromTemplate}},
	Immutable:   []string{"spec.selector"},
	Wait:        rollout.Deployment,
	Propagation: metav1.DeletePropagationForeground, // so that the pods are gone when a destroy ends
	ExplainDelete: func(*unstructured.Unstructured) string {
		return "A deployment is gone when its pods are, and the pods of a node that does not answer are not until the node is deleted. " +
			"kubectl get pods,nodes shows them. Bring the node's host back, or give it up with kubectl delete node NAME, and run Terraform again."
	},
	Abandoned: abandonedDeployment,
})

// abandonedAfter is how long the end of pods on dead nodes may be overdue before a deletion counts as done without them.
// It covers what the destroy of a dead node in the same run takes, which ends them: a dial that is not answered, and the
// cluster's pause before it removes the pods of a node that is gone. Tests set it.
var abandonedAfter = ssh.DefaultTimeout + 90*time.Second

func abandonedDeployment(ctx context.Context, client *kube.Client, object *unstructured.Unstructured) (string, error) {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &d); err != nil {
		return "", err
	}
	return rollout.Abandoned(ctx, client.Typed, d.Namespace, metav1.FormatLabelSelector(d.Spec.Selector), abandonedAfter)
}
