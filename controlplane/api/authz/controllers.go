package authz

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// controllerPrefix begins the role of a controller; it is bound to the service account of the rest of the name
// in kube-system.
const controllerPrefix = "system:controller:"

type controllerRule struct {
	name  string
	rules []rbacv1.PolicyRule
}

// controllerRules are the roles of Kubernetes' controllers. This server's controllers need none, since they are
// in the same process; what is installed on Kubernetes may count on them.
func controllerRules() []controllerRule {
	c := func(name string, rules ...rbacv1.PolicyRule) controllerRule { return controllerRule{name, rules} }
	const groups = "apps extensions"
	return []controllerRule{
		c("attachdetach-controller", on("list watch", core, "persistentvolumeclaims persistentvolumes pods"), on(read, core, "nodes"), on("patch update", core, "nodes/status"), events(),
			on("create delete "+read, "storage.k8s.io", "volumeattachments"), on(read, "storage.k8s.io", "csidrivers csinodes")),
		c("certificate-controller", on("delete "+read, "certificates.k8s.io", "certificatesigningrequests"),
			on("update", "certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status"),
			on("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
			on("sign", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown"),
			on("create", "authorization.k8s.io", "subjectaccessreviews"), events()),
		c("clusterrole-aggregation-controller", on("escalate patch update "+read, "rbac.authorization.k8s.io", "clusterroles")),
		c("cronjob-controller", on("update "+read, "batch", "cronjobs"), on("create delete patch update "+read, "batch", "jobs"), on("update", "batch", "cronjobs/finalizers cronjobs/status"),
			on("delete list watch", core, "pods"), events()),
		c("daemon-set-controller", on(read, groups, "daemonsets"), on("update", groups, "daemonsets/finalizers daemonsets/status"), on("list watch", core, "nodes"),
			on("create delete list patch watch", core, "pods"), on("create", core, "pods/binding"), on("create delete patch update "+read, "apps", "controllerrevisions"), events()),
		c("deployment-controller", on("update "+read, groups, "deployments"), on("update", groups, "deployments/finalizers deployments/status"),
			on("create delete patch update "+read, groups, "replicasets"), on("update "+read, core, "pods"), events()),
		c("disruption-controller", on(read, groups, "deployments replicasets"), on(read, core, "replicationcontrollers"), on(read, "policy", "poddisruptionbudgets"), on(read, "apps", "statefulsets"),
			on("update", "policy", "poddisruptionbudgets/status"), on("patch update", core, "pods/status"), on("get", "*", "*/scale"), events()),
		c("endpoint-controller", on(read, core, "pods services"), on("create delete update "+read, core, "endpoints"), on("create", core, "endpoints/restricted"), events()),
		c("endpointslice-controller", on(read, core, "nodes pods services"), on("update", core, "services/finalizers"), on("create delete update "+read, "discovery.k8s.io", "endpointslices"), events()),
		c("endpointslicemirroring-controller", on(read, core, "endpoints services"), on("update", core, "endpoints/finalizers services/finalizers"),
			on("create delete update "+read, "discovery.k8s.io", "endpointslices"), events()),
		c("ephemeral-volume-controller", on(read, core, "pods"), on("update", core, "pods/finalizers"), on("create "+read, core, "persistentvolumeclaims"), events()),
		c("device-taint-eviction-controller", on("delete "+read, core, "pods"), on("patch update", core, "pods/status"), on(read, "resource.k8s.io", "deviceclasses devicetaintrules resourceclaims resourceslices"),
			on("patch update", "resource.k8s.io", "devicetaintrules/status"), events()),
		c("kube-apiserver-serving-clustertrustbundle-publisher", on("attest", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-serving"),
			on("create delete list update watch", "certificates.k8s.io", "clustertrustbundles"), events()),
		c("podcertificaterequestcleaner", on("delete "+read, "certificates.k8s.io", "podcertificaterequests")),
		c("storage-version-migrator-controller", on("list patch", "*", "*"), on("get", "apiextensions.k8s.io", "customresourcedefinitions"),
			on("patch", "apiextensions.k8s.io", "customresourcedefinitions/status"), on("update", "storagemigration.k8s.io", "storageversionmigrations/status")),
		c("expand-controller", on("patch update "+read, core, "persistentvolumes"), on("patch update", core, "persistentvolumeclaims/status"), on(read, core, "persistentvolumeclaims"), events()),
		c("generic-garbage-collector", on("delete patch update "+read, "*", "*"), events()),
		c("horizontal-pod-autoscaler", on(read, "autoscaling", "horizontalpodautoscalers"), on("update", "autoscaling", "horizontalpodautoscalers/status"), on("get update", "*", "*/scale"),
			on("list watch", core, "pods"), on("list watch", "metrics.k8s.io", "pods"), on(read, "custom.metrics.k8s.io external.metrics.k8s.io", "*"), events()),
		c("job-controller", on("patch update "+read, "batch", "jobs"), on("update", "batch", "jobs/finalizers jobs/status"), on("create delete list patch watch", core, "pods"), events()),
		c("legacy-service-account-token-cleaner", on("get", core, "configmaps", "kube-apiserver-legacy-service-account-token-tracking"), on("delete patch", core, "secrets")),
		c("namespace-controller", on("delete "+read, core, "namespaces"), on("update", core, "namespaces/finalize namespaces/status"), on("delete deletecollection "+read, "*", "*")),
		c("node-controller", on(read, "coordination.k8s.io", "leases"), on("delete patch update "+read, core, "nodes"), on("patch update", core, "nodes/status pods/status"), on("delete "+read, core, "pods"), events()),
		c("persistent-volume-binder", on("create delete update "+read, core, "persistentvolumes"), on("update", core, "persistentvolumeclaims/status persistentvolumes/status"),
			on("update "+read, core, "persistentvolumeclaims"), on("create delete "+read, core, "pods"), on(read, "storage.k8s.io", "storageclasses"), on("list watch", core, "nodes"),
			on("watch", core, "events"), events()),
		c("pod-garbage-collector", on("delete list watch", core, "pods"), on(read, core, "nodes"), on("patch", core, "pods/status")),
		c("pv-protection-controller", on("update "+read, core, "persistentvolumes"), events()),
		c("pvc-protection-controller", on("update "+read, core, "persistentvolumeclaims"), on("update", core, "persistentvolumeclaims/status"), on(read, core, "pods"), events()),
		c("replicaset-controller", on("update "+read, groups, "replicasets"), on("update", groups, "replicasets/finalizers replicasets/status"), on("create delete list patch watch", core, "pods"), events()),
		c("replication-controller", on("update "+read, core, "replicationcontrollers"), on("update", core, "replicationcontrollers/finalizers replicationcontrollers/status"),
			on("create delete list patch watch", core, "pods"), events()),
		c("resource-claim-controller", on(read, core, "pods"), on("update", core, "pods/finalizers"), on("create delete "+read, "resource.k8s.io", "resourceclaims"),
			on("patch update", "resource.k8s.io", "resourceclaims resourceclaims/binding resourceclaims/status"), on("patch update", core, "pods/status"), events()),
		c("resourcequota-controller", on("list watch", "*", "*"), on("update", core, "resourcequotas/status"), events()),
		c("root-ca-cert-publisher", on("create update", core, "configmaps"), events()),
		c("route-controller", on("list watch", core, "nodes"), on("patch", core, "nodes/status"), events()),
		c("selinux-warning-controller", on(read, core, "persistentvolumeclaims persistentvolumes pods"), on(read, "storage.k8s.io", "csidrivers"), events()),
		c("service-account-controller", on("create", core, "serviceaccounts"), events()),
		c("service-cidrs-controller", on("patch update "+read, "networking.k8s.io", "servicecidrs"), on("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
			on(read, "networking.k8s.io", "ipaddresses"), events()),
		c("service-controller", on(read, core, "services"), on("patch update", core, "services/status"), on("list watch", core, "nodes"), events()),
		c("statefulset-controller", on(read, "apps", "statefulsets"), on("update", "apps", "statefulsets/finalizers statefulsets/status"), on("create delete patch update "+read, core, "pods"),
			on("create delete patch update "+read, "apps", "controllerrevisions"), on("create delete update "+read, core, "persistentvolumeclaims"), on("update", core, "pods/finalizers"), events()),
		c("ttl-after-finished-controller", on("delete "+read, "batch", "jobs"), events()),
		c("ttl-controller", on("list patch update watch", core, "nodes"), events()),
		c("validatingadmissionpolicy-status-controller", on(read, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
			on("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"), events()),
		c("volumeattributesclass-protection-controller", on(read, core, "persistentvolumeclaims persistentvolumes"), on("update "+read, "storage.k8s.io", "volumeattributesclasses"), events()),
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}

func clusterBinding(name string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: defaultMeta("", name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: subjects}
}

const (
	controllerManager = "system:kube-controller-manager"
	scheduler         = "system:kube-scheduler"
	nodeRole          = "system:node"
)

// defaultBindings are the cluster role bindings that exist in every cluster. Nobody has system:node by them: the
// node authorizer gives nodes what they may do.
func defaultBindings() []*rbacv1.ClusterRoleBinding {
	all := []*rbacv1.ClusterRoleBinding{
		clusterBinding("cluster-admin", group(masters)),
		clusterBinding("system:monitoring", group("system:monitoring")),
		clusterBinding("system:discovery", group("system:authenticated")),
		clusterBinding("system:basic-user", group("system:authenticated")),
		clusterBinding("system:public-info-viewer", group("system:authenticated"), group("system:unauthenticated")),
		clusterBinding("system:service-account-issuer-discovery", group("system:serviceaccounts")),
		clusterBinding("system:cluster-trust-bundle-discovery", group("system:serviceaccounts")),
		clusterBinding(nodeRole),
		clusterBinding("system:node-proxier", user("system:kube-proxy")),
		clusterBinding(controllerManager, user(controllerManager)),
		clusterBinding("system:kube-dns", account("kube-dns")),
		clusterBinding(scheduler, user(scheduler)),
		clusterBinding("system:volume-scheduler", user(scheduler)),
	}
	for _, c := range controllerRules() {
		all = append(all, clusterBinding(controllerPrefix+c.name, account(c.name)))
	}
	return all
}

// namespaceRole is a default role with those who have it.
type namespaceRole struct {
	namespace, name string
	rules           []rbacv1.PolicyRule
	// binding is the name of the binding; empty: that of the role.
	binding  string
	subjects []rbacv1.Subject
}

// namespaceRoles are the default roles within the system's namespaces.
func namespaceRoles() []namespaceRole {
	const configs, system, public = "configmaps", metav1.NamespaceSystem, metav1.NamespacePublic
	rules := func(r ...rbacv1.PolicyRule) []rbacv1.PolicyRule { return r }
	subjects := func(s ...rbacv1.Subject) []rbacv1.Subject { return s }
	return []namespaceRole{
		{system, "extension-apiserver-authentication-reader", rules(on(read, core, configs, "extension-apiserver-authentication")),
			"system::extension-apiserver-authentication-reader", subjects(user(controllerManager), user(scheduler))},
		{system, controllerPrefix + "bootstrap-signer", rules(on(read, core, "secrets")), "", subjects(account("bootstrap-signer"))},
		{system, controllerPrefix + "cloud-provider", rules(on("create "+read, core, configs)), "", subjects(account("cloud-provider"))},
		{system, controllerPrefix + "token-cleaner", rules(on("delete "+read, core, "secrets"), events()), "", subjects(account("token-cleaner"))},
		{system, "system::leader-locking-kube-controller-manager", rules(on("create update "+read, "coordination.k8s.io", "leasecandidates leases")), "", subjects(user(controllerManager), account("kube-controller-manager"), account("leader-election-controller"))},
		{system, "system::leader-locking-kube-scheduler", rules(on("create update "+read, "coordination.k8s.io", "leasecandidates leases")), "", subjects(user(scheduler), account("kube-scheduler"))},
		{public, controllerPrefix + "bootstrap-signer", rules(on(read, core, configs), on("update", core, configs, "cluster-info"), events()), "", subjects(account("bootstrap-signer"))},
	}
}
