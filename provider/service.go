package provider

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// newService makes fairlead_service.
var newService = workload(kube.Descriptor{
	Object:      &corev1.Service{},
	Namespaced:  true,
	Description: "A stable address and name for a set of pods.",
	Required:    []string{"spec"},
	Filled: []kube.Filled{
		{Path: "spec.cluster_ip", Depends: []string{"spec.type"}, Never: hasType("ExternalName")},
		{Path: "spec.ports[*].node_port", Depends: []string{"spec.type"}, Never: hasType("ClusterIP", "ExternalName")},
	},
	Immutable: []string{"spec.cluster_ip"},
	NameRule:  validation.IsDNS1123Label,
})

// hasType reports of a configured service whether it has one of the types; a service without one is of type ClusterIP.
func hasType(types ...string) func(config kube.View) bool {
	return func(config kube.View) bool {
		configured := config.At("spec.type")
		if configured.Unknown() {
			return false
		}
		name, ok := configured.Text()
		if !ok {
			name = string(corev1.ServiceTypeClusterIP)
		}
		for _, t := range types {
			if t == name {
				return true
			}
		}
		return false
	}
}
