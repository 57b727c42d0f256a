package kind

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
)

func nodeKind() *Kind {
	info, status := corev1.NodeSystemInfo{}.SwaggerDoc(), corev1.NodeStatus{}.SwaggerDoc()
	return definition[*corev1.Node]{
		gv: corev1.SchemeGroupVersion, kind: "Node", plural: "nodes", singular: "node", short: []string{"no"},
		new:      func() *corev1.Node { return &corev1.Node{} },
		list:     func() runtime.Object { return &corev1.NodeList{} },
		defaults: defaultNode,
		// a node registers itself with its status, so create keeps it
		prepareCreate: func(n *corev1.Node) {
			dropNodeFields(n, nil)
			n.Status.Config = nil
		},
		prepareUpdate: func(n, old *corev1.Node) {
			n.Status = old.Status
			dropNodeFields(n, old)
		},
		validate:       validateNode,
		validateUpdate: validateNodeUpdate,
		warnings:       func(n, _ *corev1.Node) []string { return nodeWarnings(n) },
		status: &statusRules[*corev1.Node]{
			prepareUpdate: func(n, old *corev1.Node) {
				n.Spec = old.Spec
				if old.Status.Config == nil {
					n.Status.Config = nil
				}
			},
			validate: validateNodeUpdate,
		},
		fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Status", "string", "The status of the node"), column("Roles", "string", "The roles of the node"), ageColumn(),
			column("Version", "string", info["kubeletVersion"]),
			wide("Internal-IP", "string", status["addresses"]), wide("External-IP", "string", status["addresses"]),
			wide("OS-Image", "string", info["osImage"]), wide("Kernel-Version", "string", info["kernelVersion"]),
			wide("Container-Runtime", "string", info["containerRuntimeVersion"]),
		},
		row: nodeRow,
	}.build()
}

func defaultNode(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	quantity.Round(n.Status.Capacity)
	quantity.Round(n.Status.Allocatable)
	// podCIDR and podCIDRs[0] are one value under two names; the older one counts where they differ
	if n.Spec.PodCIDR != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != n.Spec.PodCIDR) {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

// dropNodeFields drops what Kubernetes has no more or not yet, unless it was there.
func dropNodeFields(n, old *corev1.Node) {
	if old == nil || old.Spec.ConfigSource == nil {
		n.Spec.ConfigSource = nil
	}
	if old == nil || old.Spec.PodPreemptionPolicy == nil {
		n.Spec.PodPreemptionPolicy = nil
	}
}

func nodeRow(n *corev1.Node, now time.Time) []any {
	info := n.Status.NodeInfo
	return []any{
		n.Name, nodeStatusText(n), orNone(strings.Join(nodeRoles(n), ",")), age(n, now), info.KubeletVersion,
		orNone(nodeAddress(n, corev1.NodeInternalIP)), orNone(nodeAddress(n, corev1.NodeExternalIP)),
		orUnknown(info.OSImage), orUnknown(info.KernelVersion), orUnknown(info.ContainerRuntimeVersion),
	}
}

func orUnknown(s string) string {
	if s == "" {
		return unknownText
	}
	return s
}

func nodeStatusText(n *corev1.Node) string {
	text := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if text = "NotReady"; c.Status == corev1.ConditionTrue {
			text = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		text += ",SchedulingDisabled"
	}
	return text
}

// nodeRoles are the roles that labels give a node: node-role.kubernetes.io/ROLE and kubernetes.io/role=ROLE.
func nodeRoles(n *corev1.Node) []string {
	const prefix, label = "node-role.kubernetes.io/", "kubernetes.io/role"
	roles := map[string]bool{}
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, prefix); ok && role != "" {
			roles[role] = true
		}
		if key == label && value != "" {
			roles[value] = true
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return ""
}
