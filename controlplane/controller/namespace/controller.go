// Package namespace empties namespaces that are being deleted, and then lets them go.
package namespace

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	workers = 2
	// lookAgain is how soon a namespace is looked at when something in it is slow to go; deletions that are
	// watched bring it back sooner.
	lookAgain = 5 * time.Second
)

type controller struct {
	client client.Client
	kinds  *kind.Table
	now    func() time.Time

	mu    sync.Mutex
	going map[string]bool // namespaces that are being deleted
}

// New returns the controller; kinds is the table of all kinds that namespaces may hold.
func New(c client.Client, kinds *kind.Table) loop.Controller {
	r := &controller{client: c, kinds: kinds, now: time.Now, going: map[string]bool{}}
	return loop.Controller{
		Name: "namespace", For: kind.Of[*corev1.Namespace](), Workers: workers, Reconcile: r.reconcile,
		Each: &loop.Each{Kinds: kinds, Keys: func(k *kind.Kind) func(client.Event) []loop.Key {
			if !k.Namespaced {
				return nil
			}
			return r.contentChanged
		}},
	}
}

// held returns the kinds that a namespace may hold. Pods go first, so that what protects or serves them lasts as
// long as they do (KEP-5080).
func (r *controller) held() []*kind.Kind {
	pod := kind.Of[*corev1.Pod]()
	out := []*kind.Kind{pod}
	for _, k := range r.kinds.Kinds() {
		if k.Namespaced && k != pod {
			out = append(out, k)
		}
	}
	return out
}

func (r *controller) contentChanged(e client.Event) []loop.Key {
	if e.Type != watch.Deleted {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.going[e.Object.GetNamespace()] {
		return nil
	}
	return []loop.Key{{Name: e.Object.GetNamespace()}}
}

func (r *controller) note(name string, going bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if going {
		r.going[name] = true
	} else {
		delete(r.going, name)
	}
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	ns, err := client.Get[*corev1.Namespace](ctx, r.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		r.note(key.Name, false)
		return loop.Result{}, nil
	}
	if err != nil || ns.DeletionTimestamp == nil {
		return loop.Result{}, err
	}
	if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return loop.Result{}, nil
	}
	r.note(key.Name, true)
	left, deleteErr := r.empty(ctx, ns.Name)
	if ns, err = r.updateStatus(ctx, ns, left, deleteErr); err != nil {
		return loop.Result{}, err
	}
	if deleteErr != nil {
		return loop.Result{}, deleteErr
	}
	if len(left) > 0 {
		return loop.Result{After: lookAgain}, nil
	}
	return loop.Result{}, r.finalize(ctx, ns)
}

// remainder is the objects of one kind that are still there.
type remainder struct {
	kind       *kind.Kind
	count      int
	finalizers map[string]int
}

// empty deletes what is in a namespace and returns what is left of it. Other kinds wait for the pods.
func (r *controller) empty(ctx context.Context, namespace string) ([]remainder, error) {
	var left []remainder
	for i, k := range r.held() {
		objs, err := r.client.List(ctx, k, client.Query{Namespace: namespace})
		if err != nil {
			return left, err
		}
		err = loop.Parallel(len(objs), func(i int) error { return r.delete(ctx, k, objs[i]) })
		if err != nil {
			return left, err
		}
		if objs, err = r.client.List(ctx, k, client.Query{Namespace: namespace}); err != nil {
			return left, err
		}
		if len(objs) > 0 {
			left = append(left, remains(k, objs))
			if i == 0 {
				return left, nil
			}
		}
	}
	return left, nil
}

func (r *controller) delete(ctx context.Context, k *kind.Kind, obj kind.Object) error {
	if obj.GetDeletionTimestamp() != nil {
		return nil
	}
	background := metav1.DeletePropagationBackground
	err := r.client.Delete(ctx, k, obj.GetNamespace(), obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete %s %s/%s: %w", k.Singular, obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

func remains(k *kind.Kind, objs []kind.Object) remainder {
	out := remainder{kind: k, count: len(objs), finalizers: map[string]int{}}
	for _, o := range objs {
		for _, f := range o.GetFinalizers() {
			out.finalizers[f]++
		}
	}
	return out
}

func (r *controller) updateStatus(ctx context.Context, ns *corev1.Namespace, left []remainder, failed error) (*corev1.Namespace, error) {
	next := ns.DeepCopy()
	next.Status.Phase = corev1.NamespaceTerminating
	next.Status.Conditions = conditions(ns.Status.Conditions, left, failed, r.now())
	if reflect.DeepEqual(next.Status, ns.Status) {
		return ns, nil
	}
	got, err := client.UpdateStatus(ctx, r.client, next)
	if err != nil {
		return nil, fmt.Errorf("cannot update status of namespace %s: %w", ns.Name, err)
	}
	return got, nil
}

func (r *controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	next := ns.DeepCopy()
	next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err := r.client.Update(ctx, kind.Of[*corev1.Namespace](), next, "finalize")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot finalize namespace %s: %w", ns.Name, err)
	}
	return nil
}

// conditions says in the words of Kubernetes why a namespace is still there.
func conditions(old []corev1.NamespaceCondition, left []remainder, failed error, now time.Time) []corev1.NamespaceCondition {
	out := slices.Clone(old)
	set := func(t corev1.NamespaceConditionType, bad bool, reason, message, goodReason, goodMessage string) {
		c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: goodReason, Message: goodMessage, LastTransitionTime: metav1.NewTime(now)}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, reason, message
		}
		at := slices.IndexFunc(out, func(o corev1.NamespaceCondition) bool { return o.Type == t })
		if at < 0 {
			out = append(out, c)
			return
		}
		if out[at].Status == c.Status {
			c.LastTransitionTime = out[at].LastTransitionTime
		}
		out[at] = c
	}
	failure := ""
	if failed != nil {
		failure = failed.Error()
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, false, "", "", "ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, false, "", "", "ParsedGroupVersions", "All legacy kube types successfully parsed")
	set(corev1.NamespaceDeletionContentFailure, failed != nil, "ContentDeletionFailed", failure,
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set(corev1.NamespaceContentRemaining, len(left) > 0, "SomeResourcesRemain", "Some resources are remaining: "+remainingText(left),
		"ContentRemoved", "All content successfully removed")
	finalizers := finalizersText(left)
	set(corev1.NamespaceFinalizersRemaining, finalizers != "", "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+finalizers,
		"ContentHasNoFinalizers", "All content-preserving finalizers finished")
	return out
}

func remainingText(left []remainder) string {
	parts := make([]string, len(left))
	for i, l := range left {
		parts[i] = fmt.Sprintf("%s.%s has %d resource instances", l.kind.Plural, l.kind.Group, l.count)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func finalizersText(left []remainder) string {
	total := map[string]int{}
	for _, l := range left {
		for f, n := range l.finalizers {
			total[f] += n
		}
	}
	var parts []string
	for f, n := range total {
		parts = append(parts, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
