package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

var serviceNames = map[corev1.ResourceName]bool{
	"count/services": true, corev1.ResourceServices: true, corev1.ResourceServicesNodePorts: true, corev1.ResourceServicesLoadBalancers: true,
}

func services() *Evaluator {
	return &Evaluator{
		resource: schema.GroupResource{Resource: "services"},
		counts:   func(name corev1.ResourceName) bool { return serviceNames[name] },
		usage:    func(obj kind.Object) corev1.ResourceList { return serviceUsage(obj.(*corev1.Service)) },
		updates:  func(subresource string) bool { return subresource == "" }, // the type may change
	}
}

func serviceUsage(s *corev1.Service) corev1.ResourceList {
	used := corev1.ResourceList{"count/services": one(), corev1.ResourceServices: one()}
	nodePorts := 0
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		nodePorts = len(s.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		used[corev1.ResourceServicesLoadBalancers] = one()
		own := s.Spec.AllocateLoadBalancerNodePorts != nil && !*s.Spec.AllocateLoadBalancerNodePorts
		for _, port := range s.Spec.Ports {
			if !own || port.NodePort != 0 {
				nodePorts++
			}
		}
	}
	if nodePorts > 0 {
		used[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(int64(nodePorts), resource.DecimalSI)
	}
	return used
}

// classSuffix stands between a storage class and the resource that is limited for it.
const classSuffix = ".storageclass.storage.k8s.io/"

var claimNames = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}

func claims() *Evaluator {
	return &Evaluator{
		resource: schema.GroupResource{Resource: "persistentvolumeclaims"},
		counts: func(name corev1.ResourceName) bool {
			for _, n := range claimNames {
				if name == n || strings.HasSuffix(string(name), classSuffix+string(n)) {
					return true
				}
			}
			return name == "count/persistentvolumeclaims"
		},
		usage: func(obj kind.Object) corev1.ResourceList { return claimUsage(obj.(*corev1.PersistentVolumeClaim)) },
		// a claim grows by its spec, and what it was given is in its status
		updates: func(subresource string) bool { return subresource == "" || subresource == "status" },
		inScope: func(obj kind.Object, s corev1.ScopedResourceSelectorRequirement) bool {
			return s.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && selects(s, attributesClasses(obj.(*corev1.PersistentVolumeClaim))...)
		},
	}
}

func claimUsage(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
	used := corev1.ResourceList{"count/persistentvolumeclaims": one(), corev1.ResourcePersistentVolumeClaims: one()}
	class := storagehelpers.GetPersistentVolumeClaimClass(c)
	if class != "" {
		used[corev1.ResourceName(class+classSuffix)+corev1.ResourcePersistentVolumeClaims] = one()
	}
	storage, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return used
	}
	if given, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(storage) > 0 {
		storage = given
	}
	storage = storage.DeepCopy()
	storage.RoundUp(0) // bytes are whole
	used[corev1.ResourceRequestsStorage] = storage
	if class != "" {
		used[corev1.ResourceName(class+classSuffix)+corev1.ResourceRequestsStorage] = storage
	}
	return used
}

// attributesClasses are the classes that a claim has, had, or is on its way to.
func attributesClasses(c *corev1.PersistentVolumeClaim) []string {
	var out []string
	if c.Spec.VolumeAttributesClassName != nil {
		out = append(out, *c.Spec.VolumeAttributesClassName)
	}
	if c.Status.CurrentVolumeAttributesClassName != nil {
		out = append(out, *c.Status.CurrentVolumeAttributesClassName)
	}
	if c.Status.ModifyVolumeStatus != nil {
		out = append(out, c.Status.ModifyVolumeStatus.TargetVolumeAttributesClassName)
	}
	return out
}
