package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// workloads lists the resources that package kube derives from Kubernetes types. A further kind is a descriptor in a
// file of its own, and a line here.
func workloads() []func() resource.Resource {
	return []func() resource.Resource{newNamespace, newConfigMap, newSecret, newDeployment, newService}
}

// workload makes the resource of a kind, whose clusters are named as everywhere in this provider.
func workload(desc kube.Descriptor) func() resource.Resource {
	desc.ClusterRule = func(id string) []string {
		if msg := clusterIDProblem(id); msg != "" {
			return []string{msg}
		}
		return nil
	}
	return kube.Resource(desc)
}
