package kind

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func nodeKind() *Kind {
	info, status := corev1.NodeSystemInfo{}.SwaggerDoc(), corev1.NodeStatus{}.SwaggerDoc()
	return definition[*corev1.Node]{
		gv: corev1.SchemeGroupVersion, kind: "Node", plural: "nodes", singular: "node", short: []string{"no"},
		new:      func() *corev1.Node { return &corev1.Node{} },
		list:     func() runtime.Object { return &corev1.NodeList{} },
		defaults: defaultNode,
		// a node registers itself with its status, so create keeps it
		prepareUpdate:  func(n, old *corev1.Node) { n.Status = old.Status },
		validate:       validateNode,
		validateUpdate: validateNodeUpdate,
		status: &statusRules[*corev1.Node]{
			prepareUpdate: func(n, old *corev1.Node) { n.Spec = old.Spec },
			validate: func(n, _ *corev1.Node) field.ErrorList {
				return validateNodeStatus(&n.Status, field.NewPath("status"))
			},
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
	defaultResources(n.Status.Capacity)
	defaultResources(n.Status.Allocatable)
	// podCIDR and podCIDRs[0] are one value under two names
	if n.Spec.PodCIDR != "" && len(n.Spec.PodCIDRs) == 0 {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

func validateNode(n *corev1.Node) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateTaints(n.Spec.Taints, spec.Child("taints"))
	for i, cidr := range n.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDR(spec.Child("podCIDRs").Index(i), cidr)...)
	}
	if len(n.Spec.PodCIDRs) > 0 && n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
		errs = append(errs, field.Invalid(spec.Child("podCIDRs").Index(0), n.Spec.PodCIDRs[0], "must be the same as podCIDR"))
	}
	if len(n.Spec.PodCIDRs) > 2 {
		errs = append(errs, field.Invalid(spec.Child("podCIDRs"), n.Spec.PodCIDRs, "may have no more than one value for each IP family"))
	}
	return append(errs, validateNodeStatus(&n.Status, field.NewPath("status"))...)
}

func validateNodeStatus(s *corev1.NodeStatus, path *field.Path) field.ErrorList {
	errs := validateResourceList(s.Capacity, path.Child("capacity"))
	errs = append(errs, validateResourceList(s.Allocatable, path.Child("allocatable"))...)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range s.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(path.Child("addresses").Index(i), a))
		}
		seen[a] = true
	}
	return errs
}

func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type key struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[key]bool{}
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, labelName(t.Key, at.Child("key"))...)
		errs = append(errs, invalidEach(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, validateTaintEffect(t.Effect, false, at.Child("effect"))...)
		k := key{t.Key, t.Effect}
		if seen[k] {
			duplicate := field.Duplicate(at, t)
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		}
		seen[k] = true
	}
	return errs
}

func validateTaintEffect(effect corev1.TaintEffect, allowEmpty bool, path *field.Path) field.ErrorList {
	if effect == "" && allowEmpty {
		return nil
	}
	return oneOf(effect, path, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	// beside these only labels, annotations, taints, capacity and unschedulable change
	rest := old.Spec.DeepCopy()
	rest.PodCIDR, rest.PodCIDRs, rest.ProviderID = n.Spec.PodCIDR, n.Spec.PodCIDRs, n.Spec.ProviderID
	rest.Taints, rest.Unschedulable, rest.ConfigSource = n.Spec.Taints, n.Spec.Unschedulable, n.Spec.ConfigSource
	if !apiequality.Semantic.DeepEqual(&n.Spec, rest) {
		errs = append(errs, field.Forbidden(spec, "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"))
	}
	return errs
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
