package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
)

// Warnings are of new pods only: it is controllers and nodes that update pods.
func Warnings(p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var out []string
	if messages := validation.IsDNS1123Label(p.Name); len(messages) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", messages))
	}
	return append(out, specWarnings(&p.ObjectMeta, &p.Spec, nil)...)
}

// TemplateWarnings tells of fields of a template that do nothing, are deprecated or are probably not what was meant.
func TemplateWarnings(t *corev1.PodTemplateSpec, path *field.Path) []string {
	return append(specWarnings(&t.ObjectMeta, &t.Spec, path), appArmorWarnings(t, path)...)
}

// specWarnings does so for a pod, of which path is nil, or a template.
func specWarnings(meta *metav1.ObjectMeta, s *corev1.PodSpec, path *field.Path) []string {
	w := &warnings{}
	spec, annotations := path.Child("spec"), path.Child("metadata", "annotations")
	w.nodeLabels(s, spec)
	for key, message := range deadAnnotations {
		if _, ok := meta.Annotations[key]; ok {
			w.add(annotations.Key(key), message)
		}
	}
	w.volumes(s.Volumes, spec.Child("volumes"))
	w.names(s, spec)
	w.fractions(s.Overhead, spec.Child("overhead"))
	seccomp := func(key string, set bool) {
		if _, ok := meta.Annotations[key]; ok && !set {
			w.add(annotations.Key(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
	seccomp(corev1.SeccompPodAnnotationKey, s.SecurityContext != nil && s.SecurityContext.SeccompProfile != nil)
	container.Each(s, spec, func(c *corev1.Container, at *field.Path) {
		seccomp(corev1.SeccompContainerAnnotationKeyPrefix+c.Name, c.SecurityContext != nil && c.SecurityContext.SeccompProfile != nil)
		w.fractions(c.Resources.Limits, at.Child("resources", "limits"))
		w.fractions(c.Resources.Requests, at.Child("resources", "requests"))
		w.env(c.Env, at.Child("env"))
	})
	w.ports(s, spec)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.add(spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.affinity(s.Affinity, spec.Child("affinity"))
	if s.DNSConfig != nil {
		for i, ns := range s.DNSConfig.Nameservers {
			w.texts = append(w.texts, validation.GetWarningsForIP(spec.Child("dnsConfig", "nameservers").Index(i), ns)...)
		}
	}
	for i, h := range s.HostAliases {
		w.texts = append(w.texts, validation.GetWarningsForIP(spec.Child("hostAliases").Index(i).Child("ip"), h.IP)...)
	}
	return w.texts
}

// appArmorWarnings tells of profiles in annotations. Those of a pod are told of where they become fields.
func appArmorWarnings(t *corev1.PodTemplateSpec, path *field.Path) []string {
	w := &warnings{}
	container.Each(&t.Spec, nil, func(c *corev1.Container, _ *field.Path) {
		key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		annotation, ok := t.Annotations[key]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		if p := appArmorOf(&t.Spec, c); p == nil || !apiequality.Semantic.DeepEqual(p, appArmorProfile(annotation)) {
			w.add(path.Child("metadata", "annotations").Key(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	})
	return w.texts
}

// warnings collects texts for Warning headers.
type warnings struct{ texts []string }

func (w *warnings) add(path *field.Path, text string) {
	w.texts = append(w.texts, path.String()+": "+text)
}

// deadAnnotations of pods do nothing any more.
var deadAnnotations = map[string]string{
	"scheduler.alpha.kubernetes.io/critical-pod":  `non-functional in v1.16+; use the "priorityClassName" field instead`,
	"security.alpha.kubernetes.io/sysctls":        `non-functional in v1.11+; use the "sysctls" field instead`,
	"security.alpha.kubernetes.io/unsafe-sysctls": `non-functional in v1.11+; use the "sysctls" field instead`,
}

// nodeLabels tells of old labels in what chooses nodes, and of constraints that choose no pods.
func (w *warnings) nodeLabels(s *corev1.PodSpec, path *field.Path) {
	for key := range s.NodeSelector {
		if message, ok := scheduling.OldNodeLabels[key]; ok {
			w.add(path.Child("nodeSelector").Key(key), message)
		}
	}
	if n := scheduling.NodeAffinity(s); n != nil {
		at := path.Child("affinity", "nodeAffinity")
		terms := scheduling.RequiredTerms(n)
		for i := range terms {
			w.nodeTerm(&terms[i], false, at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))
		}
	}
	for i, c := range s.TopologySpreadConstraints {
		at := path.Child("topologySpreadConstraints").Index(i)
		if message, ok := scheduling.OldNodeLabels[c.TopologyKey]; ok {
			w.add(at.Child("topologyKey"), c.TopologyKey+" is "+message)
		}
		if c.LabelSelector == nil {
			w.add(at.Child("labelSelector"), matchesNothing)
		}
	}
}

const matchesNothing = "a null labelSelector results in matching no pod"

func (w *warnings) nodeTerm(t *corev1.NodeSelectorTerm, values bool, path *field.Path) {
	for i, r := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if message, ok := scheduling.OldNodeLabels[r.Key]; ok {
			w.add(at.Child("key"), r.Key+" is "+message)
		}
		if !values {
			continue
		}
		for j, v := range r.Values {
			for _, message := range validation.IsValidLabelValue(v) {
				w.add(at.Child("values").Index(j), v+" is invalid, "+message)
			}
		}
	}
}

func (w *warnings) affinity(a *corev1.Affinity, path *field.Path) {
	if a == nil {
		return
	}
	each := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, path *field.Path) {
		for i := range required {
			if required[i].LabelSelector == nil {
				w.add(path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), matchesNothing)
			}
		}
		for i := range preferred {
			if preferred[i].PodAffinityTerm.LabelSelector == nil {
				w.add(path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), matchesNothing)
			}
		}
	}
	if p := a.PodAffinity; p != nil {
		each(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		each(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))
	}
}

// names tells of what is written twice, or without a name.
func (w *warnings) names(s *corev1.PodSpec, path *field.Path) {
	seen := map[string]bool{}
	for i, h := range s.HostAliases {
		if seen[h.IP] {
			w.add(path.Child("hostAliases").Index(i).Child("ip"), fmt.Sprintf("duplicate ip %q", h.IP))
		}
		seen[h.IP] = true
	}
	clear(seen)
	for i, r := range s.ImagePullSecrets {
		at := path.Child("imagePullSecrets").Index(i).Child("name")
		if seen[r.Name] {
			w.add(at, fmt.Sprintf("duplicate name %q", r.Name))
		}
		seen[r.Name] = true
		if r.Name == "" {
			w.add(at, `invalid empty name ""`)
		}
	}
}

// fractions tells of parts of bytes.
func (w *warnings) fractions(list corev1.ResourceList, path *field.Path) {
	for _, name := range [...]corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		w.fraction(list[name], path.Key(string(name)))
	}
}

func (w *warnings) fraction(q resource.Quantity, path *field.Path) {
	if quantity.IsFractional(q) {
		w.add(path, fmt.Sprintf("fractional byte value %q is invalid, must be an integer", q.String()))
	}
}

// env tells of variables that hide an earlier one of the name without using it.
func (w *warnings) env(env []corev1.EnvVar, path *field.Path) {
	if len(env) < 2 {
		return
	}
	seen := make(map[string]bool, len(env))
	for i, e := range env {
		ref := "$(" + e.Name + ")"
		if seen[e.Name] && (e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref)) {
			w.add(path.Index(i), fmt.Sprintf("hides previous definition of %q, which may be dropped when using apply", e.Name))
		}
		seen[e.Name] = true
	}
}

// ports tells of ports of a pod's containers that are the same, or may be, and of names that several have.
func (w *warnings) ports(s *corev1.PodSpec, path *field.Path) {
	type key struct {
		number   int32
		protocol corev1.Protocol
	}
	type port struct {
		at *field.Path
		corev1.ContainerPort
	}
	known := map[key][]port{}
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			at := at.Child("ports").Index(i)
			if p.HostIP != "" && p.HostPort == 0 {
				w.add(at, fmt.Sprintf("hostIP set without hostPort: %+v", p))
			}
			k := key{p.ContainerPort, p.Protocol}
			for _, other := range known[k] {
				switch {
				case p.HostIP == other.HostIP && p.HostPort == other.HostPort:
					w.add(at, fmt.Sprintf("duplicate port definition with %s", other.at))
				case p.HostPort == 0 || other.HostPort == 0:
					w.add(at, fmt.Sprintf("overlapping port definition with %s", other.at))
				case p.HostPort == other.HostPort && (p.HostIP == "") != (other.HostIP == ""):
					w.add(at, fmt.Sprintf("dangerously ambiguous port definition with %s", other.at))
				}
			}
			known[k] = append(known[k], port{at, p})
		}
	})
	named := map[string]*field.Path{}
	container.Each(s, path, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			at := at.Child("ports").Index(i)
			if other := named[p.Name]; other != nil {
				w.add(at, fmt.Sprintf("duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, other, other))
			} else if p.Name != "" {
				named[p.Name] = at
			}
		}
	})
}
