package provider

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/rollout"
)

// newNamespace makes fairlead_namespace.
var newNamespace = workload(kube.Descriptor{
	Object:        &corev1.Namespace{},
	Description:   "A namespace. Deleting it deletes every object in it.",
	Omit:          []string{"spec"}, // its finalizers are set by a subresource only
	NameRule:      validation.IsDNS1123Label,
	ExplainDelete: namespaceContents,
	Abandoned:     abandonedNamespace,
})

// ownersOfPods are the resources whose objects stay, in a namespace that is being deleted, for as long as their pods do.
var ownersOfPods = []string{"deployments.apps", "replicasets.apps", "replicationcontrollers."}

// abandonedNamespace wants nothing but pods and what owns them to be left, as the namespace's conditions list it.
func abandonedNamespace(ctx context.Context, client *kube.Client, object *unstructured.Unstructured) (string, error) {
	var namespace corev1.Namespace
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &namespace); err != nil {
		return "", err
	}
	for _, c := range namespace.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		if c.Type != corev1.NamespaceContentRemaining && c.Type != corev1.NamespaceFinalizersRemaining {
			return "", nil // the deletion itself failed
		}
		for _, m := range remainingResource.FindAllStringSubmatch(c.Message, -1) {
			if m[1] != "pods." && !slices.Contains(ownersOfPods, m[1]) {
				return "", nil
			}
		}
	}
	return rollout.Abandoned(ctx, client.Typed, namespace.Name, "", abandonedAfter)
}

// remainingResource finds the resources in "Some resources are remaining: pods. has 2 resource instances, …".
var remainingResource = regexp.MustCompile(`(\S+) has \d+ resource instances`)

// namespaceContents says what is left in a namespace that is being deleted: its conditions list it.
func namespaceContents(object *unstructured.Unstructured) string {
	var namespace corev1.Namespace
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &namespace); err != nil {
		return fmt.Sprintf("Its status can not be read: %v.", err)
	}
	var left []string
	for _, condition := range namespace.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			left = append(left, condition.Message)
		}
	}
	if len(left) == 0 {
		return "Its contents are still being deleted."
	}
	return strings.Join(left, "\n")
}
