package kube

import (
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// serverDefaults are the values that the API server gives to members that a client leaves out. Import removes them
// from what it finds when nothing says which fields a configuration has.
var serverDefaults = map[ruleKey]any{
	of[appsv1.DeploymentSpec]("replicas"):                int64(1),
	of[appsv1.DeploymentSpec]("revisionHistoryLimit"):    int64(10),
	of[appsv1.DeploymentSpec]("progressDeadlineSeconds"): int64(600),
	of[appsv1.DeploymentStrategy]("type"):                "RollingUpdate",
	of[appsv1.RollingUpdateDeployment]("maxSurge"):       "25%",
	of[appsv1.RollingUpdateDeployment]("maxUnavailable"): "25%",

	of[corev1.PodSpec]("restartPolicy"):                           "Always",
	of[corev1.PodSpec]("dnsPolicy"):                               "ClusterFirst",
	of[corev1.PodSpec]("schedulerName"):                           "default-scheduler",
	of[corev1.PodSpec]("terminationGracePeriodSeconds"):           int64(30),
	of[corev1.PodSpec]("enableServiceLinks"):                      true,
	of[corev1.Container]("terminationMessagePath"):                "/dev/termination-log",
	of[corev1.Container]("terminationMessagePolicy"):              "File",
	of[corev1.ContainerPort]("protocol"):                          "TCP",
	of[corev1.HTTPGetAction]("scheme"):                            "HTTP",
	of[corev1.HTTPGetAction]("path"):                              "/",
	of[corev1.Probe]("timeoutSeconds"):                            int64(1),
	of[corev1.Probe]("periodSeconds"):                             int64(10),
	of[corev1.Probe]("successThreshold"):                          int64(1),
	of[corev1.Probe]("failureThreshold"):                          int64(3),
	of[corev1.GRPCAction]("service"):                              "",
	of[corev1.ObjectFieldSelector]("apiVersion"):                  "v1",
	of[corev1.ResourceFieldSelector]("divisor"):                   "0",
	of[corev1.ConfigMapVolumeSource]("defaultMode"):               int64(420),
	of[corev1.SecretVolumeSource]("defaultMode"):                  int64(420),
	of[corev1.ProjectedVolumeSource]("defaultMode"):               int64(420),
	of[corev1.DownwardAPIVolumeSource]("defaultMode"):             int64(420),
	of[corev1.HostPathVolumeSource]("type"):                       "",
	of[corev1.ServiceAccountTokenProjection]("expirationSeconds"): int64(3600),

	of[corev1.ServicePort]("protocol"):                      "TCP",
	of[corev1.ServiceSpec]("type"):                          "ClusterIP",
	of[corev1.ServiceSpec]("sessionAffinity"):               "None",
	of[corev1.ServiceSpec]("internalTrafficPolicy"):         "Cluster",
	of[corev1.ServiceSpec]("externalTrafficPolicy"):         "Cluster",
	of[corev1.ServiceSpec]("ipFamilyPolicy"):                "SingleStack",
	of[corev1.ClientIPConfig]("timeoutSeconds"):             int64(10800),
	of[corev1.Secret]("type"):                               "Opaque",
	of[corev1.ServiceSpec]("allocateLoadBalancerNodePorts"): true,
}

// serverChoices are members that follow from others: they are removed when they say what the server would say.
var serverChoices = map[ruleKey]func(object map[string]any) bool{
	of[corev1.Container]("imagePullPolicy"): func(c map[string]any) bool { return c["imagePullPolicy"] == pullPolicy(c["image"]) },
	of[corev1.PodSpec]("serviceAccount"):    func(map[string]any) bool { return true }, // the old name of serviceAccountName
	of[corev1.ServiceSpec]("clusterIPs"):    func(map[string]any) bool { return true }, // follows cluster_ip
	of[corev1.ServiceSpec]("ipFamilies"):    func(s map[string]any) bool { return s["ipFamilyPolicy"] == "SingleStack" },
	of[corev1.ServicePort]("targetPort"):    func(p map[string]any) bool { return p["targetPort"] == p["port"] },
}

func pullPolicy(image any) string {
	name, _ := image.(string)
	last := name[strings.LastIndexByte(name, '/')+1:]
	if strings.Contains(last, "@") || strings.Contains(last, ":") && !strings.HasSuffix(last, ":latest") {
		return "IfNotPresent"
	}
	return "Always"
}

// strip removes from a live value of the node what the server put there by itself, and what is empty as a result.
// It changes live.
func (n *node) strip(live any) {
	switch n.kind {
	case kindObject:
		object, ok := live.(map[string]any)
		if !ok {
			return
		}
		chosen := map[string]bool{} // decided before anything is removed, since one may depend on another
		for _, f := range n.fields {
			if choice := serverChoices[ruleKey{n.typ, f.json}]; choice != nil {
				chosen[f.json] = choice(object)
			}
		}
		for _, f := range n.fields {
			value, ok := object[f.json]
			if !ok {
				continue
			}
			f.node.strip(value)
			standard, known := serverDefaults[ruleKey{n.typ, f.json}]
			if known && reflect.DeepEqual(standard, value) || chosen[f.json] || n.isEmptied(f, value) {
				delete(object, f.json)
			}
		}
	case kindList, kindSet:
		list, _ := live.([]any)
		for _, element := range list {
			n.elem.strip(element)
		}
	case kindMap:
		object, _ := live.(map[string]any)
		for _, element := range object {
			n.elem.strip(element)
		}
	}
}

// isEmptied reports whether an optional object has nothing left to say. A member of a union says something by being
// there: emptyDir: {} is a volume.
func (n *node) isEmptied(f *field, value any) bool {
	object, ok := value.(map[string]any)
	_, chooses := unions[n.typ]
	return ok && len(object) == 0 && f.node.kind == kindObject && !f.required && !chooses
}
