package provider

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// newConfigMap makes fairlead_config_map.
var newConfigMap = workload(kube.Descriptor{
	Object:      &corev1.ConfigMap{},
	Namespaced:  true,
	Frozen:      []string{"immutable", "data", "binary_data"},
	Description: "Configuration for pods to read, as environment variables or files.",
})
