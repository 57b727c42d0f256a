package rollout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-log/tflog"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// lookEvery is how often time alone is looked at; changes are looked at when they come.
const lookEvery = time.Second

// Deployment returns when the rollout of a deployment, as it was just applied, has ended. Its error is a *kube.Failure
// that says which pod failed and why, or the context's.
func Deployment(ctx context.Context, client *kube.Client, object *unstructured.Unstructured) error {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &d); err != nil {
		return fmt.Errorf("cannot read deployment %s: %w", object.GetName(), err)
	}
	w, err := newWatch(client.Typed, &d)
	if err != nil {
		return err
	}
	return w.wait(ctx)
}

// watch follows one deployment, its replica sets and their pods.
type watch struct {
	client     kubernetes.Interface
	want       *appsv1.Deployment // as applied
	deployment informers.SharedInformerFactory
	rest       informers.SharedInformerFactory
	// changed has room for one: that something changed since the last look. Nobody closes it.
	changed chan struct{}

	mu      sync.Mutex
	problem error // what keeps an informer from listing
}

func newWatch(client kubernetes.Interface, d *appsv1.Deployment) (*watch, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("cannot read the selector of deployment %s: %w", d.Name, err)
	}
	w := &watch{client: client, want: d, changed: make(chan struct{}, 1)}
	w.deployment = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(d.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", d.Name).String()
		}))
	w.rest = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(d.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector.String() }))
	return w, w.subscribe(
		w.deployment.Apps().V1().Deployments().Informer(), w.rest.Apps().V1().ReplicaSets().Informer(), w.rest.Core().V1().Pods().Informer())
}

func (w *watch) subscribe(all ...cache.SharedIndexInformer) error {
	notify := func() {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(any, any) { notify() }, DeleteFunc: func(any) { notify() },
	}
	for _, informer := range all {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("cannot watch: %w", err)
		}
		err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			w.mu.Lock()
			w.problem = err
			w.mu.Unlock()
			notify()
		})
		if err != nil {
			return fmt.Errorf("cannot watch: %w", err)
		}
	}
	return nil
}

// wait looks at every change until the rollout ends, in whatever way.
func (w *watch) wait(ctx context.Context) error {
	stop := make(chan struct{}) // closed by this function alone
	w.deployment.Start(stop)
	w.rest.Start(stop)
	defer func() {
		close(stop)
		w.deployment.Shutdown()
		w.rest.Shutdown()
	}()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	j := &judge{}
	var last verdict
	for {
		v, err := w.look(j)
		if err != nil {
			return err
		}
		switch {
		case v.done:
			tflog.Info(ctx, "rollout has ended", map[string]any{"deployment": w.name(), "progress": v.progress})
			return nil
		case v.failed != "":
			return w.failure(ctx, v, v.failed)
		case v.progress != last.progress:
			tflog.Info(ctx, "rollout goes on", map[string]any{"deployment": w.name(), "progress": v.progress})
		}
		last = v
		select {
		case <-w.changed:
		case <-ticker.C:
		case <-ctx.Done():
			return w.outOfTime(ctx, last)
		}
	}
}

// look judges what the informers have; it has no verdict until they have listed.
func (w *watch) look(j *judge) (verdict, error) {
	deployments, sets, pods := w.deployment.Apps().V1().Deployments(), w.rest.Apps().V1().ReplicaSets(), w.rest.Core().V1().Pods()
	if !deployments.Informer().HasSynced() || !sets.Informer().HasSynced() || !pods.Informer().HasSynced() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if apierrors.IsForbidden(w.problem) || apierrors.IsUnauthorized(w.problem) {
			return verdict{}, fmt.Errorf("cannot watch deployment %s: %w", w.name(), w.problem)
		}
		return verdict{progress: "the objects are being listed"}, nil
	}
	d, err := deployments.Lister().Deployments(w.want.Namespace).Get(w.want.Name)
	if apierrors.IsNotFound(err) || err == nil && d.UID != w.want.UID {
		return verdict{}, &kube.Failure{
			Summary: fmt.Sprintf("Cannot roll out deployment %s", w.name()), Detail: "It was deleted while its rollout was waited for.",
		}
	}
	if err != nil {
		return verdict{}, err
	}
	if d.Generation < w.want.Generation {
		return verdict{progress: "the change is not visible yet"}, nil
	}
	o := observation{deployment: d, now: time.Now()}
	if o.sets, err = sets.Lister().List(labels.Everything()); err != nil {
		return verdict{}, err
	}
	if o.pods, err = pods.Lister().List(labels.Everything()); err != nil {
		return verdict{}, err
	}
	return j.look(o), nil
}

// failure says why a rollout can not end well.
func (w *watch) failure(ctx context.Context, v verdict, why string) error {
	detail := upToNow(v)
	if v.cause != nil {
		detail = explain(ctx, w.client, v.cause) + "\n\n" + detail
	}
	return &kube.Failure{Summary: fmt.Sprintf("Cannot roll out deployment %s: %s", w.name(), why), Detail: detail}
}

func upToNow(v verdict) string {
	return "So far " + v.progress + "."
}

// outOfTime says how far a rollout came in the time that it had.
func (w *watch) outOfTime(ctx context.Context, last verdict) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("cannot wait for the rollout of deployment %s: %w", w.name(), ctx.Err())
	}
	why := "its time is up: " + last.progress
	if last.cause != nil {
		why = last.cause.String() + " when its time was up"
	}
	w.mu.Lock()
	problem := w.problem
	w.mu.Unlock()
	if last.cause == nil && problem != nil {
		why += fmt.Sprintf(" (%v)", problem)
	}
	return w.failure(ctx, last, why)
}

func (w *watch) name() string { return w.want.Namespace + "/" + w.want.Name }
