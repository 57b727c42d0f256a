package provider

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// newNamespace makes fairlead_namespace.
var newNamespace = workload(kube.Descriptor{
	Object:        &corev1.Namespace{},
	Description:   "A namespace. Deleting it deletes every object in it.",
	Omit:          []string{"spec"}, // its finalizers are set by a subresource only
	NameRule:      validation.IsDNS1123Label,
	ExplainDelete: namespaceContents,
})

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
