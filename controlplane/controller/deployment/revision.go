package deployment

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// The annotations by which kubectl rollout and other clients read a Deployment's history.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation             = "deployment.kubernetes.io/max-replicas"
	rollbackAnnotation        = "deprecated.deployment.rollback.to"
)

// maxHistory bounds the annotation that lists a set's former revisions, in bytes.
const maxHistory = 2000

// notCopied are a Deployment's annotations that its sets do not get.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	revisionAnnotation:                 true,
	revisionHistoryAnnotation:          true,
	desiredAnnotation:                  true,
	maxAnnotation:                      true,
	rollbackAnnotation:                 true,
}

// templateHash names a template. It only has to differ for different templates: equality is decided by
// comparing them, so that a new version of the code may hash otherwise without a rollout.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("cannot encode template: %w", err)
	}
	h := fnv.New32a()
	h.Write(raw)
	if collisions != nil {
		fmt.Fprintf(h, "/%d", *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10)), nil
}

// sameTemplate compares templates but for the label that names the hash.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return apiequality.Semantic.DeepEqual(a, b)
}

// split returns the set that has d's template, the oldest if several do, and all others; each group is sorted
// by age.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	for _, rs := range byAge(sets) {
		if current == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			current = rs
			continue
		}
		old = append(old, rs)
	}
	return current, old
}

func byAge(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	out := slices.Clone(sets)
	slices.SortFunc(out, func(a, b *appsv1.ReplicaSet) int {
		if c := a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		if c := compareRevision(a, b); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

func compareRevision(a, b *appsv1.ReplicaSet) int {
	switch x, y := revision(a), revision(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}

// revision returns the number of obj's revision, 0 when it has none.
func revision(obj metav1.Object) int64 {
	n, err := strconv.ParseInt(obj.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// nextRevision is one more than the highest revision among old sets.
func nextRevision(old []*appsv1.ReplicaSet) int64 {
	var highest int64
	for _, rs := range old {
		highest = max(highest, revision(rs))
	}
	return highest + 1
}

// annotated returns rs with d's annotations and its revision, which grows when an old set is the current one
// again; rs itself when nothing changes.
func annotated(d *appsv1.Deployment, rs *appsv1.ReplicaSet, rev int64, replicas int32) *appsv1.ReplicaSet {
	next := rs.DeepCopy()
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if !notCopied[k] {
			next.Annotations[k] = v
		}
	}
	if was := revision(rs); was < rev {
		if was > 0 {
			next.Annotations[revisionHistoryAnnotation] = history(rs.Annotations[revisionHistoryAnnotation], was)
		}
		next.Annotations[revisionAnnotation] = strconv.FormatInt(rev, 10)
	}
	markSize(d, next, replicas)
	if maps.Equal(next.Annotations, rs.Annotations) {
		return rs
	}
	return next
}

// history appends a revision to the list of former ones, whose oldest are dropped when it is too long.
func history(list string, rev int64) string {
	revisions := []string{}
	if list != "" {
		revisions = strings.Split(list, ",")
	}
	revisions = append(revisions, strconv.FormatInt(rev, 10))
	for len(strings.Join(revisions, ",")) > maxHistory {
		revisions = revisions[1:]
	}
	return strings.Join(revisions, ",")
}

// markSize notes on rs for which size of d it was scaled, which later proportional scaling starts from.
func markSize(d *appsv1.Deployment, rs *appsv1.ReplicaSet, replicas int32) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	rs.Annotations[desiredAnnotation] = strconv.Itoa(int(replicas))
	rs.Annotations[maxAnnotation] = strconv.Itoa(int(replicas + maxSurge(d)))
}

// newSet returns the set for d's template.
func newSet(d *appsv1.Deployment, rev int64, replicas int32) (*appsv1.ReplicaSet, error) {
	hash, err := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	if err != nil {
		return nil, err
	}
	template := d.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	selector := d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            d.Name + "-" + hash,
			Namespace:       d.Namespace,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{loop.ControllerRef(kind.Of[*appsv1.Deployment](), d)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template,
		},
	}
	return annotated(d, rs, rev, wanted(d.Spec.Replicas)), nil
}
