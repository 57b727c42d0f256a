package scheduler

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

// podInfo is a pod with what scheduling asks of it, worked out once. It is immutable.
type podInfo struct {
	pod      *corev1.Pod
	owner    types.UID // its controller, "" when it has none
	request  resources
	cpu, mem int64 // as scored
	ports    []hostPort

	affinity     []term
	antiAffinity []term
	prefer       []weighted // with negative weights for anti-affinity
	hardSpread   []spread
	softSpread   []spread

	constrained bool // it has a node selector or required node affinity
	required    nodeaffinity.RequiredNodeAffinity
	preferred   *nodeaffinity.PreferredSchedulingTerms // nil when there are none
	needs       nodedeclaredfeatures.FeatureSet        // of nodes (KEP 5328)
}

// kubernetesVersion is what nodes need not declare any more, since all that this release knows have it.
var kubernetesVersion = utilversion.MustParse(version.KubernetesVersion)

// term is a pod affinity term: pods that count are those of namespaces (or of a namespace that nsSelector
// matches) that selector matches.
type term struct {
	key        string // identifies namespaces and selector
	topology   string // label of nodes
	namespaces map[string]bool
	nsSelector labels.Selector // nil: none
	selector   labels.Selector
}

type weighted struct {
	term
	weight int64
}

// spread is a topology spread constraint.
type spread struct {
	term
	maxSkew      int
	minDomains   int
	self         bool // the pod counts itself
	honourNode   bool // only nodes that the pod's node affinity allows count
	honourTaints bool // only nodes whose taints the pod tolerates count
}

// matches says whether a pod of that namespace with those labels counts for t.
func (t *term) matches(namespace string, set map[string]string, namespaceLabels map[string]map[string]string) bool {
	if !t.namespaces[namespace] && (t.nsSelector == nil || !t.nsSelector.Matches(labels.Set(namespaceLabels[namespace]))) {
		return false
	}
	return t.selector.Matches(labels.Set(set))
}

// newPodInfo works out a pod. An expression that can not be parsed, which validation does not let through,
// matches nothing.
func newPodInfo(pod *corev1.Pod) *podInfo {
	p := &podInfo{pod: pod, request: requestsOf(pod), ports: hostPortsOf(pod)}
	p.cpu, p.mem = scoredRequests(pod, &p.request)
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		p.owner = ref.UID
	}
	a := pod.Spec.Affinity
	p.constrained = len(pod.Spec.NodeSelector) > 0 ||
		a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	if p.constrained {
		p.required = nodeaffinity.GetRequiredNodeAffinity(pod)
	}
	if a != nil {
		p.addAffinity(a)
	}
	// The only error is of a version that is not given.
	p.needs, _ = nodedeclaredfeatures.DefaultFramework.InferForPodScheduling(&nodedeclaredfeatures.PodInfo{Spec: &pod.Spec}, kubernetesVersion)
	for i := range pod.Spec.TopologySpreadConstraints {
		p.addSpread(&pod.Spec.TopologySpreadConstraints[i])
	}
	return p
}

func (p *podInfo) addAffinity(a *corev1.Affinity) {
	if n := a.NodeAffinity; n != nil && len(n.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		if terms, err := nodeaffinity.NewPreferredSchedulingTerms(n.PreferredDuringSchedulingIgnoredDuringExecution); err == nil {
			p.preferred = terms
		}
	}
	if n := a.PodAffinity; n != nil {
		p.affinity = p.terms(n.RequiredDuringSchedulingIgnoredDuringExecution)
		p.addPreferred(n.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if n := a.PodAntiAffinity; n != nil {
		p.antiAffinity = p.terms(n.RequiredDuringSchedulingIgnoredDuringExecution)
		p.addPreferred(n.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
}

func (p *podInfo) addPreferred(list []corev1.WeightedPodAffinityTerm, sign int64) {
	for i := range list {
		p.prefer = append(p.prefer, weighted{p.term(&list[i].PodAffinityTerm), sign * int64(list[i].Weight)})
	}
}

func (p *podInfo) terms(list []corev1.PodAffinityTerm) []term {
	var out []term
	for i := range list {
		out = append(out, p.term(&list[i]))
	}
	return out
}

func (p *podInfo) term(t *corev1.PodAffinityTerm) term {
	namespaces := map[string]bool{}
	for _, ns := range t.Namespaces {
		namespaces[ns] = true
	}
	if len(namespaces) == 0 && t.NamespaceSelector == nil {
		namespaces[p.pod.Namespace] = true
	}
	selector := selectorOf(t.LabelSelector)
	for _, key := range t.MatchLabelKeys {
		selector = p.require(selector, key, true)
	}
	for _, key := range t.MismatchLabelKeys {
		selector = p.require(selector, key, false)
	}
	var nsSelector labels.Selector
	if t.NamespaceSelector != nil {
		nsSelector = selectorOf(t.NamespaceSelector)
	}
	return newTerm(t.TopologyKey, namespaces, nsSelector, selector)
}

func newTerm(topology string, namespaces map[string]bool, nsSelector, selector labels.Selector) term {
	key := strings.Join(slices.Sorted(maps.Keys(namespaces)), ",") + "|"
	if nsSelector != nil {
		key += "~" + nsSelector.String()
	}
	return term{key: key + "|" + selector.String(), topology: topology, namespaces: namespaces, nsSelector: nsSelector, selector: selector}
}

func selectorOf(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return sel
}

// require narrows s to pods that have the pod's own value of a label, or not.
func (p *podInfo) require(s labels.Selector, key string, same bool) labels.Selector {
	value, ok := p.pod.Labels[key]
	if !ok {
		return s
	}
	want := map[bool]string{true: "in", false: "notin"}[same]
	extra, err := labels.Parse(key + " " + want + " (" + value + ")")
	if err != nil {
		return labels.Nothing()
	}
	requirements, _ := extra.Requirements()
	return s.DeepCopySelector().Add(requirements...)
}

func (p *podInfo) addSpread(c *corev1.TopologySpreadConstraint) {
	selector := selectorOf(c.LabelSelector)
	for _, key := range c.MatchLabelKeys {
		selector = p.require(selector, key, true)
	}
	s := spread{
		term:         newTerm(c.TopologyKey, map[string]bool{p.pod.Namespace: true}, nil, selector),
		maxSkew:      int(c.MaxSkew),
		minDomains:   1,
		self:         selector.Matches(labels.Set(p.pod.Labels)),
		honourNode:   c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
		honourTaints: c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
	}
	if c.MinDomains != nil {
		s.minDomains = int(*c.MinDomains)
	}
	if c.WhenUnsatisfiable == corev1.ScheduleAnyway {
		p.softSpread = append(p.softSpread, s)
	} else {
		p.hardSpread = append(p.hardSpread, s)
	}
}

// priority is what decides who comes first; 0 when admission set none.
func (p *podInfo) priority() int32 {
	if p.pod.Spec.Priority == nil {
		return 0
	}
	return *p.pod.Spec.Priority
}
