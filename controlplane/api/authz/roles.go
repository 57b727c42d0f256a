package authz

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The default roles are those of Kubernetes 1.37, so that charts, operators and habits find what they count on.
// Rules are written as words: verbs, groups and resources are each separated by spaces.

// The marks of default roles, as Kubernetes has them: an administrator who sets the annotation to "false" keeps
// their own version.
const (
	bootstrapLabel = "kubernetes.io/bootstrapping"
	autoUpdate     = "rbac.authorization.kubernetes.io/autoupdate"
	aggregatePre   = "rbac.authorization.k8s.io/aggregate-to-"
)

const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = read + " " + write
	// core is how the group without a name is written.
	core = "core"
)

func words(s string) []string {
	out := strings.Fields(s)
	slices.Sort(out)
	return out
}

// on makes a rule for resources; names narrow it to these objects.
func on(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: words(verbs), APIGroups: strings.Fields(groups), Resources: words(resources), ResourceNames: names}
	for i, g := range r.APIGroups {
		if g == core {
			r.APIGroups[i] = ""
		}
	}
	return r
}

func urls(paths string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: words(paths)}
}

// events lets a part say what it does.
func events() rbacv1.PolicyRule { return on("create patch update", "core events.k8s.io", "events") }

func defaultMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{bootstrapLabel: "rbac-defaults"}, Annotations: map[string]string{autoUpdate: "true"}}
}

// role makes a default cluster role; to names the role that its rules are aggregated to.
func role(name, to string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: defaultMeta("", name), Rules: rules}
	if to != "" {
		r.Labels[aggregatePre+to] = "true"
	}
	return r
}

func aggregateRole(name, to string) *rbacv1.ClusterRole {
	r := role(name, to)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregatePre + name: "true"}}}}
	return r
}

// defaultRoles are the cluster roles that exist in every cluster.
func defaultRoles() []*rbacv1.ClusterRole {
	all := []*rbacv1.ClusterRole{
		role("cluster-admin", "", on("*", "*", "*"), rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}),
		aggregateRole("admin", ""), aggregateRole("edit", "admin"), aggregateRole("view", "edit"),
		role("system:aggregate-to-admin", "admin", on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			on(readWrite, "rbac.authorization.k8s.io", "rolebindings roles")),
		role("system:aggregate-to-edit", "edit", editRules()...),
		role("system:aggregate-to-view", "view", viewRules()...),
	}
	for _, c := range controllerRules() {
		all = append(all, role(controllerPrefix+c.name, "", c.rules...))
	}
	return append(append(all, userRoles()...), partRoles()...)
}

func editRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		on(read, core, "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		on("impersonate", core, "serviceaccounts"),
		on(write, core, "pods pods/attach pods/exec pods/portforward pods/proxy"),
		on("create", core, "pods/eviction"),
		on(write, "events.k8s.io", "events"),
		on(write, core, "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
		on("create", core, "serviceaccounts/token"),
		on(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
		on(write, "autoscaling", "horizontalpodautoscalers"),
		on(write, "batch", "cronjobs jobs"),
		on(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale"),
		on(write, "policy", "poddisruptionbudgets"),
		on(write, "networking.k8s.io", "ingresses networkpolicies"),
		on(readWrite, "coordination.k8s.io", "leases"),
		on(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
	}
}

func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		on(read, core, "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
		on(read, core, "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status"),
		on(read, core, "namespaces"),
		on(read, "events.k8s.io", "events"),
		on(read, "discovery.k8s.io", "endpointslices"),
		on(read, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
		on(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
		on(read, "batch", "cronjobs cronjobs/status jobs jobs/status"),
		on(read, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale"),
		on(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
		on(read, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
		on(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
	}
}

// userRoles are for people and for what looks at a cluster.
func userRoles() []*rbacv1.ClusterRole {
	const requests = "certificatesigningrequests"
	approver := func(name, signer string) *rbacv1.ClusterRole {
		return role("system:certificates.k8s.io:"+name+"-approver", "", on("approve", "certificates.k8s.io", "signers", "kubernetes.io/"+signer))
	}
	return []*rbacv1.ClusterRole{
		role("system:discovery", "", urls("/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")),
		role("system:basic-user", "", on("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			on("create", "authentication.k8s.io", "selfsubjectreviews")),
		role("system:public-info-viewer", "", urls("/healthz /livez /readyz /version /version/")),
		role("system:monitoring", "", on("get", core, "nodes/metrics"), urls("/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz")),
		role("system:service-account-issuer-discovery", "", urls("/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		role("system:cluster-trust-bundle-discovery", "", on(read, "certificates.k8s.io", "clustertrustbundles")),
		role("system:auth-delegator", "", on("create", "authentication.k8s.io", "tokenreviews"), on("create", "authorization.k8s.io", "subjectaccessreviews")),
		role("system:heapster", "", on(read, core, "events namespaces nodes pods"), on(read, "extensions", "deployments")),
		role("system:certificates.k8s.io:certificatesigningrequests:nodeclient", "", on("create", "certificates.k8s.io", requests+"/nodeclient")),
		role("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "", on("create", "certificates.k8s.io", requests+"/selfnodeclient")),
		approver("kube-apiserver-client", "kube-apiserver-client"), approver("kube-apiserver-client-kubelet", "kube-apiserver-client-kubelet"),
		approver("kubelet-serving", "kubelet-serving"), approver("legacy-unknown", "legacy-unknown"),
	}
}

// partRoles are those of a cluster's parts, where they are programs of their own.
func partRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		role(nodeRole, "", nodeRules()...),
		role("system:node-bootstrapper", "", on("create "+read, "certificates.k8s.io", "certificatesigningrequests")),
		role("system:node-problem-detector", "", on("get", core, "nodes"), on("patch", core, "nodes/status"), events()),
		role("system:node-proxier", "", on("list watch", core, "endpoints services"), on(read, core, "nodes"), events(),
			on("list watch", "networking.k8s.io", "servicecidrs"), on("list watch", "discovery.k8s.io", "endpointslices")),
		role("system:kubelet-api-admin", "", on(read, core, "nodes"), on("proxy", core, "nodes"),
			on("*", core, "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats")),
		role("system:kube-aggregator", "", on(read, core, "endpoints services")),
		role("system:kube-dns", "", on("list watch", core, "endpoints services")),
		role("system:persistent-volume-provisioner", "", on("create delete "+read, core, "persistentvolumes"), on("update "+read, core, "persistentvolumeclaims"),
			on(read, "storage.k8s.io", "storageclasses"), on("watch", core, "events"), events()),
		role("system:volume-scheduler", "", on("patch update "+read, core, "persistentvolumes persistentvolumeclaims"), on(read, "storage.k8s.io", "storageclasses")),
		role("system:kube-controller-manager", "", events(), on("create", "coordination.k8s.io", "leases"),
			on("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
			on("create", core, "secrets serviceaccounts"), on("delete", core, "secrets"), on("get", core, "configmaps namespaces secrets serviceaccounts"),
			on("update", core, "secrets serviceaccounts"), on("create", "authentication.k8s.io", "tokenreviews"),
			on("create", "authorization.k8s.io", "subjectaccessreviews"), on("list watch", "*", "*"), on("create", core, "serviceaccounts/token")),
		role("system:kube-scheduler", "", events(), on("create", "coordination.k8s.io", "leases"),
			on("update "+read, "coordination.k8s.io", "leases", "kube-scheduler"), on(readWrite, "coordination.k8s.io", "leasecandidates"),
			on(read, core, "namespaces nodes persistentvolumeclaims persistentvolumes replicationcontrollers services"), on("delete "+read, core, "pods"),
			on("create", core, "bindings pods/binding"), on("patch update", core, "pods/status"), on(read, "apps extensions", "replicasets"),
			on(read, "apps", "statefulsets"), on(read, "policy", "poddisruptionbudgets"), on("create", "authentication.k8s.io", "tokenreviews"),
			on("create", "authorization.k8s.io", "subjectaccessreviews"), on(read, "storage.k8s.io", "csidrivers csinodes csistoragecapacities volumeattachments"),
			on(read, "resource.k8s.io", "deviceclasses devicetaintrules resourceslices"), on("create delete patch update "+read, "resource.k8s.io", "resourceclaims"), on("patch update "+read, "resource.k8s.io", "resourceclaims/status"),
			on("patch update", "resource.k8s.io", "resourceclaims/binding"), on("update", core, "pods/finalizers")),
	}
}

// nodeRules are what all nodes may do, as Kubernetes lists it. What they may do with objects of some nodes alone
// is in here as a whole: the node authorizer decides on these before it looks here.
func nodeRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		on("create", "authentication.k8s.io", "tokenreviews"), on("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
		on(read, core, "services"), on("create "+read, core, "nodes"), on("patch update", core, "nodes nodes/status"),
		events(), on("create delete "+read, core, "pods"), on("patch update", core, "pods/status"),
		on("create", core, "pods/eviction"), on(read, core, "configmaps secrets"), on("get", core, "endpoints persistentvolumeclaims persistentvolumes"),
		on("create "+read, "certificates.k8s.io", "certificatesigningrequests"), on("create delete get patch update", "coordination.k8s.io", "leases"),
		on("get", "storage.k8s.io", "volumeattachments"), on("create", core, "serviceaccounts/token"),
		on("get patch update", core, "persistentvolumeclaims/status"), on(read, "storage.k8s.io", "csidrivers"),
		on("create delete get patch update", "storage.k8s.io", "csinodes"), on(read, "node.k8s.io", "runtimeclasses"),
		on("get", "resource.k8s.io", "resourceclaims"), on("deletecollection", "resource.k8s.io", "resourceslices"),
		on(read, "certificates.k8s.io", "clustertrustbundles"), on("create "+read, "certificates.k8s.io", "podcertificaterequests"),
		on("get", core, "serviceaccounts"),
	}
}

// agentRules are what this cluster's agents do beside a kubelet's work: they are the service proxy and the DNS
// server of their node.
func agentRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		on(read, core, "endpoints namespaces"), on(read, "discovery.k8s.io", "endpointslices"),
		on(read, "networking.k8s.io", "networkpolicies"), on(read, "scheduling.k8s.io", "priorityclasses"),
	}
}
