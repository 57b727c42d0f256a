package kind

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList                                    { return nil }
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList                         { return nil }
func validatePodStatusUpdate(p, old *corev1.Pod) field.ErrorList                   { return nil }
func validateTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList { return nil }
func templateWarnings(t, old *corev1.PodTemplateSpec, path *field.Path) []string   { return nil }
func validateService(p *corev1.Service) field.ErrorList                            { return nil }
func validateServiceUpdate(p, old *corev1.Service) field.ErrorList                 { return nil }
func validateLoadBalancerStatus(in []corev1.LoadBalancerIngress, path *field.Path) field.ErrorList {
	return nil
}
func validateResourceList(corev1.ResourceList, *field.Path) field.ErrorList { return nil }
func labelName(string, *field.Path) field.ErrorList                         { return nil }
func isHugePages(corev1.ResourceName) bool                                  { return false }
