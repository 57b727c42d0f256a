package api_test

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// lives are by kind what TestTypedClientOfEveryKind does with its typed client.
var lives = map[schema.GroupVersionKind]func(t *testing.T, k *kind.Kind, byProtobuf, byJSON kubernetes.Interface){
	corev1.SchemeGroupVersion.WithKind("ConfigMap"): life(func(c kubernetes.Interface) typedClient[*corev1.ConfigMap, *corev1.ConfigMapList] {
		return c.CoreV1().ConfigMaps("default")
	}),
	corev1.SchemeGroupVersion.WithKind("Endpoints"): life(func(c kubernetes.Interface) typedClient[*corev1.Endpoints, *corev1.EndpointsList] {
		return c.CoreV1().Endpoints("default")
	}),
	corev1.SchemeGroupVersion.WithKind("Event"): life(func(c kubernetes.Interface) typedClient[*corev1.Event, *corev1.EventList] {
		return c.CoreV1().Events("default")
	}),
	corev1.SchemeGroupVersion.WithKind("LimitRange"): life(func(c kubernetes.Interface) typedClient[*corev1.LimitRange, *corev1.LimitRangeList] {
		return c.CoreV1().LimitRanges("default")
	}),
	corev1.SchemeGroupVersion.WithKind("Namespace"): life(func(c kubernetes.Interface) typedClient[*corev1.Namespace, *corev1.NamespaceList] {
		return c.CoreV1().Namespaces()
	}),
	corev1.SchemeGroupVersion.WithKind("Node"): life(func(c kubernetes.Interface) typedClient[*corev1.Node, *corev1.NodeList] {
		return c.CoreV1().Nodes()
	}),
	corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"): life(func(c kubernetes.Interface) typedClient[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaimList] {
		return c.CoreV1().PersistentVolumeClaims("default")
	}),
	corev1.SchemeGroupVersion.WithKind("PersistentVolume"): life(func(c kubernetes.Interface) typedClient[*corev1.PersistentVolume, *corev1.PersistentVolumeList] {
		return c.CoreV1().PersistentVolumes()
	}),
	corev1.SchemeGroupVersion.WithKind("Pod"): life(func(c kubernetes.Interface) typedClient[*corev1.Pod, *corev1.PodList] {
		return c.CoreV1().Pods("default")
	}),
	corev1.SchemeGroupVersion.WithKind("PodTemplate"): life(func(c kubernetes.Interface) typedClient[*corev1.PodTemplate, *corev1.PodTemplateList] {
		return c.CoreV1().PodTemplates("default")
	}),
	corev1.SchemeGroupVersion.WithKind("ReplicationController"): life(func(c kubernetes.Interface) typedClient[*corev1.ReplicationController, *corev1.ReplicationControllerList] {
		return c.CoreV1().ReplicationControllers("default")
	}),
	corev1.SchemeGroupVersion.WithKind("ResourceQuota"): life(func(c kubernetes.Interface) typedClient[*corev1.ResourceQuota, *corev1.ResourceQuotaList] {
		return c.CoreV1().ResourceQuotas("default")
	}),
	corev1.SchemeGroupVersion.WithKind("Secret"): life(func(c kubernetes.Interface) typedClient[*corev1.Secret, *corev1.SecretList] {
		return c.CoreV1().Secrets("default")
	}),
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"): life(func(c kubernetes.Interface) typedClient[*corev1.ServiceAccount, *corev1.ServiceAccountList] {
		return c.CoreV1().ServiceAccounts("default")
	}),
	corev1.SchemeGroupVersion.WithKind("Service"): life(func(c kubernetes.Interface) typedClient[*corev1.Service, *corev1.ServiceList] {
		return c.CoreV1().Services("default")
	}),
	admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"): life(func(c kubernetes.Interface) typedClient[*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.MutatingWebhookConfigurationList] {
		return c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	}),
	admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"): life(func(c kubernetes.Interface) typedClient[*admissionregistrationv1.ValidatingAdmissionPolicy, *admissionregistrationv1.ValidatingAdmissionPolicyList] {
		return c.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	}),
	admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"): life(func(c kubernetes.Interface) typedClient[*admissionregistrationv1.ValidatingAdmissionPolicyBinding, *admissionregistrationv1.ValidatingAdmissionPolicyBindingList] {
		return c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	}),
	admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration"): life(func(c kubernetes.Interface) typedClient[*admissionregistrationv1.ValidatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfigurationList] {
		return c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	}),
	appsv1.SchemeGroupVersion.WithKind("ControllerRevision"): life(func(c kubernetes.Interface) typedClient[*appsv1.ControllerRevision, *appsv1.ControllerRevisionList] {
		return c.AppsV1().ControllerRevisions("default")
	}),
	appsv1.SchemeGroupVersion.WithKind("DaemonSet"): life(func(c kubernetes.Interface) typedClient[*appsv1.DaemonSet, *appsv1.DaemonSetList] {
		return c.AppsV1().DaemonSets("default")
	}),
	appsv1.SchemeGroupVersion.WithKind("Deployment"): life(func(c kubernetes.Interface) typedClient[*appsv1.Deployment, *appsv1.DeploymentList] {
		return c.AppsV1().Deployments("default")
	}),
	appsv1.SchemeGroupVersion.WithKind("ReplicaSet"): life(func(c kubernetes.Interface) typedClient[*appsv1.ReplicaSet, *appsv1.ReplicaSetList] {
		return c.AppsV1().ReplicaSets("default")
	}),
	appsv1.SchemeGroupVersion.WithKind("StatefulSet"): life(func(c kubernetes.Interface) typedClient[*appsv1.StatefulSet, *appsv1.StatefulSetList] {
		return c.AppsV1().StatefulSets("default")
	}),
	autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"): life(func(c kubernetes.Interface) typedClient[*autoscalingv2.HorizontalPodAutoscaler, *autoscalingv2.HorizontalPodAutoscalerList] {
		return c.AutoscalingV2().HorizontalPodAutoscalers("default")
	}),
	batchv1.SchemeGroupVersion.WithKind("CronJob"): life(func(c kubernetes.Interface) typedClient[*batchv1.CronJob, *batchv1.CronJobList] {
		return c.BatchV1().CronJobs("default")
	}),
	batchv1.SchemeGroupVersion.WithKind("Job"): life(func(c kubernetes.Interface) typedClient[*batchv1.Job, *batchv1.JobList] {
		return c.BatchV1().Jobs("default")
	}),
	certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"): life(func(c kubernetes.Interface) typedClient[*certificatesv1.CertificateSigningRequest, *certificatesv1.CertificateSigningRequestList] {
		return c.CertificatesV1().CertificateSigningRequests()
	}),
	coordinationv1.SchemeGroupVersion.WithKind("Lease"): life(func(c kubernetes.Interface) typedClient[*coordinationv1.Lease, *coordinationv1.LeaseList] {
		return c.CoordinationV1().Leases("default")
	}),
	discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"): life(func(c kubernetes.Interface) typedClient[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList] {
		return c.DiscoveryV1().EndpointSlices("default")
	}),
	networkingv1.SchemeGroupVersion.WithKind("IngressClass"): life(func(c kubernetes.Interface) typedClient[*networkingv1.IngressClass, *networkingv1.IngressClassList] {
		return c.NetworkingV1().IngressClasses()
	}),
	networkingv1.SchemeGroupVersion.WithKind("Ingress"): life(func(c kubernetes.Interface) typedClient[*networkingv1.Ingress, *networkingv1.IngressList] {
		return c.NetworkingV1().Ingresses("default")
	}),
	networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"): life(func(c kubernetes.Interface) typedClient[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicyList] {
		return c.NetworkingV1().NetworkPolicies("default")
	}),
	nodev1.SchemeGroupVersion.WithKind("RuntimeClass"): life(func(c kubernetes.Interface) typedClient[*nodev1.RuntimeClass, *nodev1.RuntimeClassList] {
		return c.NodeV1().RuntimeClasses()
	}),
	policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"): life(func(c kubernetes.Interface) typedClient[*policyv1.PodDisruptionBudget, *policyv1.PodDisruptionBudgetList] {
		return c.PolicyV1().PodDisruptionBudgets("default")
	}),
	rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"): life(func(c kubernetes.Interface) typedClient[*rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList] {
		return c.RbacV1().ClusterRoleBindings()
	}),
	rbacv1.SchemeGroupVersion.WithKind("ClusterRole"): life(func(c kubernetes.Interface) typedClient[*rbacv1.ClusterRole, *rbacv1.ClusterRoleList] {
		return c.RbacV1().ClusterRoles()
	}),
	rbacv1.SchemeGroupVersion.WithKind("RoleBinding"): life(func(c kubernetes.Interface) typedClient[*rbacv1.RoleBinding, *rbacv1.RoleBindingList] {
		return c.RbacV1().RoleBindings("default")
	}),
	rbacv1.SchemeGroupVersion.WithKind("Role"): life(func(c kubernetes.Interface) typedClient[*rbacv1.Role, *rbacv1.RoleList] {
		return c.RbacV1().Roles("default")
	}),
	schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"): life(func(c kubernetes.Interface) typedClient[*schedulingv1.PriorityClass, *schedulingv1.PriorityClassList] {
		return c.SchedulingV1().PriorityClasses()
	}),
	storagev1.SchemeGroupVersion.WithKind("CSIDriver"): life(func(c kubernetes.Interface) typedClient[*storagev1.CSIDriver, *storagev1.CSIDriverList] {
		return c.StorageV1().CSIDrivers()
	}),
	storagev1.SchemeGroupVersion.WithKind("CSINode"): life(func(c kubernetes.Interface) typedClient[*storagev1.CSINode, *storagev1.CSINodeList] {
		return c.StorageV1().CSINodes()
	}),
	storagev1.SchemeGroupVersion.WithKind("StorageClass"): life(func(c kubernetes.Interface) typedClient[*storagev1.StorageClass, *storagev1.StorageClassList] {
		return c.StorageV1().StorageClasses()
	}),
	storagev1.SchemeGroupVersion.WithKind("VolumeAttachment"): life(func(c kubernetes.Interface) typedClient[*storagev1.VolumeAttachment, *storagev1.VolumeAttachmentList] {
		return c.StorageV1().VolumeAttachments()
	}),
	autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"): life(func(c kubernetes.Interface) typedClient[*autoscalingv1.HorizontalPodAutoscaler, *autoscalingv1.HorizontalPodAutoscalerList] {
		return c.AutoscalingV1().HorizontalPodAutoscalers("default")
	}),
	eventsv1.SchemeGroupVersion.WithKind("Event"): life(func(c kubernetes.Interface) typedClient[*eventsv1.Event, *eventsv1.EventList] {
		return c.EventsV1().Events("default")
	}),
}
