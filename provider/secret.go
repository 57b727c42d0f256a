package provider

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// newSecret makes fairlead_secret.
var newSecret = workload(kube.Descriptor{
	Object:     &corev1.Secret{},
	Namespaced: true,
	Description: "Confidential values for pods to read. They are given by write-only attributes and are in no plan or state; " +
		"Terraform 1.11 or later is needed.",
	Omit:      []string{"string_data"}, // data_wo takes plain text
	Immutable: []string{"type"},
	Frozen:    []string{"immutable", "data_wo_version"},
	WriteOnly: []kube.WriteOnly{{Field: "data", Text: "data_wo", Base64: "binary_data_wo", Version: "data_wo_version"}},
})
