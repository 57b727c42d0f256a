package provider

import "github.com/hashicorp/terraform-plugin-framework/resource"

// workloads lists the resources that package kube derives from Kubernetes types. A further kind is a descriptor in a
// file of its own, and a line here.
func workloads() []func() resource.Resource {
	return []func() resource.Resource{newNamespace, newConfigMap, newSecret, newDeployment, newService}
}
