// Package clienttest has an in-memory client.Client for tests, and the suite that every client.Client passes.
package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Fake keeps objects in memory by the contract of client.Client: resource versions and conflicts, generation,
// finalizers and deletion timestamps, grace of pods, indexes, watches in order. It has no admission and no
// validation, and sets no defaults.
type Fake struct {
	mu       sync.Mutex
	revision int64
	objects  map[*kind.Kind]map[types.NamespacedName]kind.Object
	watchers map[*kind.Kind]map[*watcher]struct{}
	fail     func(verb kind.Verb, k *kind.Kind, obj kind.Object) error
}

var _ client.Client = (*Fake)(nil)

// NewFake returns a Fake that holds objs as they are.
func NewFake(objs ...kind.Object) *Fake {
	f := &Fake{
		objects:  map[*kind.Kind]map[types.NamespacedName]kind.Object{},
		watchers: map[*kind.Kind]map[*watcher]struct{}{},
	}
	for _, o := range objs {
		k := kind.Builtin().ByType(o)
		if k == nil {
			panic(fmt.Sprintf("no kind has the type %T", o))
		}
		o = o.DeepCopyObject().(kind.Object)
		if o.GetUID() == "" {
			o.SetUID(uuid.NewUUID())
		}
		if o.GetCreationTimestamp().Time.IsZero() {
			o.SetCreationTimestamp(metav1.Now())
		}
		f.mu.Lock()
		f.put(k, o)
		f.mu.Unlock()
	}
	return f
}

// Fail makes every write ask fail first and return its error, if any. nil ends that.
func (f *Fake) Fail(fail func(verb kind.Verb, k *kind.Kind, obj kind.Object) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *Fake) refused(verb kind.Verb, k *kind.Kind, obj kind.Object) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(verb, k, obj)
}

// put stores obj under the lock and tells the watchers.
func (f *Fake) put(k *kind.Kind, obj kind.Object) {
	f.revision++
	obj.SetResourceVersion(strconv.FormatInt(f.revision, 10))
	if f.objects[k] == nil {
		f.objects[k] = map[types.NamespacedName]kind.Object{}
	}
	key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	old := f.objects[k][key]
	f.objects[k][key] = obj
	e := client.Event{Type: watch.Added, Object: obj}
	if old != nil {
		e.Type, e.Old = watch.Modified, old
	}
	f.tell(k, e)
}

func (f *Fake) remove(k *kind.Kind, obj kind.Object) {
	f.revision++
	last := obj.DeepCopyObject().(kind.Object)
	last.SetResourceVersion(strconv.FormatInt(f.revision, 10))
	delete(f.objects[k], types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()})
	f.tell(k, client.Event{Type: watch.Deleted, Object: last, Old: obj})
}

func (f *Fake) get(k *kind.Kind, namespace, name string) (kind.Object, error) {
	if obj := f.objects[k][types.NamespacedName{Namespace: namespace, Name: name}]; obj != nil {
		return obj, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

// Get implements client.Client.
func (f *Fake) Get(ctx context.Context, k *kind.Kind, namespace, name string) (kind.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.get(k, namespace, name)
}

// List implements client.Client. The order is not defined.
func (f *Fake) List(ctx context.Context, k *kind.Kind, q client.Query) ([]kind.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []kind.Object
	for _, obj := range f.objects[k] {
		if matches(k, obj, q) {
			out = append(out, obj)
		}
	}
	return out, nil
}

func matches(k *kind.Kind, obj kind.Object, q client.Query) bool {
	if q.Namespace != "" && obj.GetNamespace() != q.Namespace {
		return false
	}
	if q.Labels != nil && !q.Labels.Matches(labelSet(obj.GetLabels())) {
		return false
	}
	if q.Index == "" {
		return true
	}
	index := k.Indexes[q.Index]
	if index == nil {
		return false
	}
	for _, v := range index(obj) {
		if v == q.Value {
			return true
		}
	}
	return false
}

// Create implements client.Client.
func (f *Fake) Create(ctx context.Context, k *kind.Kind, obj kind.Object) (kind.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	obj = obj.DeepCopyObject().(kind.Object)
	if err := f.refused(kind.Create, k, obj); err != nil {
		return nil, err
	}
	if obj.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if obj.GetName() == "" {
		obj.SetName(obj.GetGenerateName() + rand.String(5))
	}
	if _, err := f.get(k, obj.GetNamespace(), obj.GetName()); err == nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
	}
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	obj.SetDeletionTimestamp(nil)
	if k.Generation {
		obj.SetGeneration(1)
	}
	if k.Status != nil {
		clearStatus(obj)
	}
	switch o := obj.(type) {
	case *corev1.Namespace:
		o.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		o.Status.Phase = corev1.NamespaceActive
	case *corev1.Pod:
		o.Status.Phase = corev1.PodPending
	}
	f.put(k, obj)
	return obj, nil
}

// Update implements client.Client.
func (f *Fake) Update(ctx context.Context, k *kind.Kind, obj kind.Object, subresource string) (kind.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.update(k, obj.DeepCopyObject().(kind.Object), subresource)
}

func (f *Fake) update(k *kind.Kind, obj kind.Object, subresource string) (kind.Object, error) {
	if err := f.refused(kind.Update, k, obj); err != nil {
		return nil, err
	}
	old, err := f.get(k, obj.GetNamespace(), obj.GetName())
	if err != nil {
		return nil, err
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != old.GetResourceVersion() || obj.GetUID() != "" && obj.GetUID() != old.GetUID() {
		return nil, apierrors.NewConflict(k.GroupResource(), obj.GetName(), fmt.Errorf("the object has been modified"))
	}
	var next kind.Object
	switch subresource {
	case "status":
		next = old.DeepCopyObject().(kind.Object)
		copyStatus(next, obj)
	case "finalize":
		next = old.DeepCopyObject().(kind.Object)
		next.(*corev1.Namespace).Spec.Finalizers = obj.(*corev1.Namespace).Spec.Finalizers
	default:
		next = obj
		if k.Status != nil {
			copyStatus(next, old)
		}
		if ns, ok := next.(*corev1.Namespace); ok {
			ns.Spec.Finalizers = old.(*corev1.Namespace).Spec.Finalizers
		}
	}
	next.SetUID(old.GetUID())
	next.SetCreationTimestamp(old.GetCreationTimestamp())
	next.SetDeletionTimestamp(old.GetDeletionTimestamp())
	next.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	next.SetGeneration(old.GetGeneration())
	next.SetResourceVersion(old.GetResourceVersion())
	if reflect.DeepEqual(next, old) {
		return old, nil
	}
	if k.Generation && subresource == "" && !sameSpec(next, old) {
		next.SetGeneration(old.GetGeneration() + 1)
	}
	f.put(k, next)
	f.reap(k, next)
	return next, nil
}

// Patch implements client.Client for merge and strategic merge patches.
func (f *Fake) Patch(ctx context.Context, k *kind.Kind, namespace, name string, t types.PatchType, data []byte, subresource string) (kind.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, err := f.get(k, namespace, name)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var after []byte
	switch t {
	case types.MergePatchType:
		after, err = jsonpatch.MergePatch(before, data)
	case types.StrategicMergePatchType:
		after, err = strategicpatch.StrategicMergePatch(before, data, k.New())
	default:
		err = fmt.Errorf("patch type %s is not known", t)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	next := k.New()
	if err := json.Unmarshal(after, next); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return f.update(k, next, subresource)
}

// Delete implements client.Client.
func (f *Fake) Delete(ctx context.Context, k *kind.Kind, namespace, name string, opts metav1.DeleteOptions) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, err := f.get(k, namespace, name)
	if err != nil {
		return err
	}
	if err := f.refused(kind.Delete, k, old); err != nil {
		return err
	}
	if p := opts.Preconditions; p != nil {
		if p.UID != nil && *p.UID != old.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
			return apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf("the precondition does not hold"))
		}
	}
	next := old.DeepCopyObject().(kind.Object)
	if opts.PropagationPolicy != nil {
		switch *opts.PropagationPolicy {
		case metav1.DeletePropagationForeground:
			addFinalizer(next, metav1.FinalizerDeleteDependents)
		case metav1.DeletePropagationOrphan:
			addFinalizer(next, metav1.FinalizerOrphanDependents)
		}
	}
	grace := int64(0)
	if pod, ok := next.(*corev1.Pod); ok && pod.Spec.NodeName != "" && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		grace = 30
		if pod.Spec.TerminationGracePeriodSeconds != nil {
			grace = *pod.Spec.TerminationGracePeriodSeconds
		}
		if opts.GracePeriodSeconds != nil {
			grace = *opts.GracePeriodSeconds
		}
	}
	if next.GetDeletionTimestamp() == nil {
		at := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
		next.SetDeletionTimestamp(&at)
	}
	next.SetDeletionGracePeriodSeconds(&grace)
	if ns, ok := next.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
	if !finished(next) {
		f.put(k, next)
		return nil
	}
	f.remove(k, next)
	return nil
}

// reap removes obj when nothing holds it any more.
func (f *Fake) reap(k *kind.Kind, obj kind.Object) {
	if obj.GetDeletionTimestamp() != nil && finished(obj) {
		f.remove(k, obj)
	}
}

func finished(obj kind.Object) bool {
	if len(obj.GetFinalizers()) > 0 {
		return false
	}
	if g := obj.GetDeletionGracePeriodSeconds(); g != nil && *g > 0 {
		return false
	}
	ns, ok := obj.(*corev1.Namespace)
	return !ok || len(ns.Spec.Finalizers) == 0
}

// Bind implements client.Client.
func (f *Fake) Bind(ctx context.Context, namespace, pod string, uid types.UID, node string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := kind.Of[*corev1.Pod]()
	old, err := f.get(k, namespace, pod)
	if err != nil {
		return err
	}
	p := old.DeepCopyObject().(*corev1.Pod)
	if p.Spec.NodeName != "" || p.UID != uid {
		return apierrors.NewConflict(corev1.Resource("pods/binding"), pod, fmt.Errorf("pod %s is already assigned to node %q", pod, p.Spec.NodeName))
	}
	if err := f.refused(kind.Update, k, p); err != nil {
		return err
	}
	p.Spec.NodeName = node
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	f.put(k, p)
	return nil
}

// Evict implements client.Client; no budget is asked.
func (f *Fake) Evict(ctx context.Context, namespace, pod string) error {
	return f.Delete(ctx, kind.Of[*corev1.Pod](), namespace, pod, metav1.DeleteOptions{})
}
