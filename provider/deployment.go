package provider

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
			"kubectl get pods,nodes shows them. Bring the node's host back, or give it up with kubectl delete node NAME, and destroy again."
	},
})
