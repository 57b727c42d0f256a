package kind

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func validateNode(n *corev1.Node) field.ErrorList {
	// Kubernetes names taints and swap as if they were metadata
	errs := validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))
	errs = append(errs, validateNodeResources(&n.Status)...)
	if s := n.Status.NodeInfo.Swap; s != nil && s.Capacity != nil && *s.Capacity <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "nodeSwapStatus", "capacity"), *s.Capacity, "must be greater than zero"))
	}
	errs = append(errs, validateFeatures(n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))...)
	return append(errs, validatePodCIDRs(n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))...)
}

func validateNodeResources(s *corev1.NodeStatus) field.ErrorList {
	var errs field.ErrorList
	for _, part := range []struct {
		name string
		list corev1.ResourceList
	}{{"capacity", s.Capacity}, {"allocatable", s.Allocatable}} {
		for name, q := range part.list {
			errs = append(errs, quantity.Validate(name, q, field.NewPath("status", part.name, string(name)))...)
		}
	}
	return errs
}

// featureName is one UpperCamelCase name, and further names behind slashes.
var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*$`)

// validateFeatures checks what a kubelet says it can do: names in order, each once.
func validateFeatures(features []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, name := range features {
		switch {
		case len(name) > validation.DNS1123SubdomainMaxLength:
			errs = append(errs, field.Invalid(path.Index(i), name,
				fmt.Sprintf("invalid feature name %q: must be no more than %d characters", name, validation.DNS1123SubdomainMaxLength)))
		case !featureName.MatchString(name):
			errs = append(errs, field.Invalid(path.Index(i), name, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, "+
				"with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", name)))
		}
		if i+1 == len(features) {
			break
		}
		switch next := features[i+1]; {
		case name == next:
			errs = append(errs, field.Duplicate(path.Index(i+1), next))
		case name > next:
			errs = append(errs, field.Invalid(path.Index(i+1), next, "list must be sorted alphabetically"))
		}
	}
	return errs
}

func validatePodCIDRs(cidrs []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), cidr, true, nil)...)
	}
	if len(cidrs) < 2 {
		return errs
	}
	both, err := netutils.IsDualStackCIDRStrings(cidrs)
	if err != nil {
		errs = append(errs, field.InternalError(path, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
	}
	if !both || len(cidrs) > 2 {
		errs = append(errs, field.Invalid(path, cidrs, "may specify no more than one CIDR for each IP family"))
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
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		if bad := validation.IsValidLabelValue(t.Value); len(bad) > 0 {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, strings.Join(bad, ";")))
		}
		errs = append(errs, scheduling.ValidateTaintEffect(t.Effect, false, at.Child("effect"))...)
		k := key{t.Key, t.Effect}
		if seen[k] {
			duplicate := field.Duplicate(at, unversioned.Form(t))
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		}
		seen[k] = true
	}
	return errs
}

func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateNodeResources(&n.Status)
	errs = append(errs, validateFeatures(n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))...)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(field.NewPath("status", "addresses").Index(i), a))
		}
		seen[a] = true
	}
	if len(old.Spec.PodCIDRs) > 0 {
		errs = append(errs, validatePodCIDRsUpdate(n.Spec.PodCIDRs, old.Spec.PodCIDRs, spec.Child("podCIDRs"))...)
	}
	if had := old.Spec.ProviderID; had != "" && n.Spec.ProviderID != had {
		why := "field cannot be modified once set"
		if n.Spec.ProviderID == "" {
			why = "field cannot be cleared once set"
		}
		errs = append(errs, field.Invalid(spec.Child("providerID"), nil, why).WithOrigin("update"))
	}
	if c := n.Spec.ConfigSource; c != nil {
		errs = append(errs, validateConfigSource(c, false, spec.Child("configSource"))...)
	}
	if c := n.Status.Config; c != nil {
		at := field.NewPath("status", "config")
		for _, part := range []struct {
			name   string
			source *corev1.NodeConfigSource
		}{{"assigned", c.Assigned}, {"active", c.Active}, {"lastKnownGood", c.LastKnownGood}} {
			if part.source != nil {
				errs = append(errs, validateConfigSource(part.source, true, at.Child(part.name))...)
			}
		}
	}
	errs = append(errs, validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(spec.Child("externalID"), "may not be updated"))
	}
	return errs
}

// validatePodCIDRsUpdate refuses to change ranges that pods have addresses of.
func validatePodCIDRsUpdate(cidrs, old []string, path *field.Path) field.ErrorList {
	changes := 1
	if len(cidrs) == len(old) {
		changes = 0
		for i := range old {
			if cidrs[i] != old[i] {
				changes++
			}
		}
	}
	var errs field.ErrorList
	for range changes {
		errs = append(errs, field.Forbidden(path, "node updates may not change podCIDR except from \"\" to valid"))
	}
	return errs
}

// validateConfigSource checks where a kubelet had its configuration from, which is of nodes that were stored with that.
func validateConfigSource(s *corev1.NodeConfigSource, status bool, path *field.Path) field.ErrorList {
	m, at := s.ConfigMap, path.Child("configMap")
	if m == nil {
		return field.ErrorList{field.Invalid(path, s, "exactly one reference subfield must be non-nil")}
	}
	var errs field.ErrorList
	switch {
	case status:
		errs = append(errs, validate.Required(string(m.UID), at.Child("uid"))...)
		errs = append(errs, validate.Required(m.ResourceVersion, at.Child("resourceVersion"))...)
	default:
		if m.UID != "" {
			errs = append(errs, field.Forbidden(at.Child("uid"), "uid must not be set in spec"))
		}
		if m.ResourceVersion != "" {
			errs = append(errs, field.Forbidden(at.Child("resourceVersion"), "resourceVersion must not be set in spec"))
		}
	}
	valid := func(value, name string, check func(string) []string) {
		bad := validate.Required(value, at.Child(name))
		if value != "" {
			bad = validate.Each(at.Child(name), value, check(value))
		}
		errs = append(errs, bad...)
	}
	valid(m.Namespace, "namespace", func(v string) []string { return apivalidation.ValidateNamespaceName(v, false) })
	valid(m.Name, "name", validation.IsDNS1123Subdomain)
	valid(m.KubeletConfigKey, "kubeletConfigKey", validation.IsConfigMapKey)
	return errs
}

func nodeWarnings(n *corev1.Node) []string {
	var out []string
	if n.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		out = append(out, cidrWarnings(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return slices.Clip(out)
}
