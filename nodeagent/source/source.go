// Package source reads what the pods of this node mount and name: config maps and secrets, each watched by
// itself, as a node may read only those that its pods use; and service account tokens.
package source

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// syncTimeout bounds the wait for an object that is asked for the first time.
const syncTimeout = 10 * time.Second

// idleAfter is how long an object that nobody asks for and no pod uses stays watched.
const idleAfter = 5 * time.Minute

type key struct{ resource, namespace, name string }

// watched is one object under watch.
type watched struct {
	store  cache.Store
	synced func() bool
	cancel context.CancelFunc
	done   chan struct{} // closed when its informer has ended
	// failed holds why the last list or watch failed; guarded by Objects.mu.
	failed error
	used   time.Time
}

// Objects implements volume.Source. Its methods may be called at any time between New and Close.
type Objects struct {
	client kubernetes.Interface
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	watched  map[key]*watched
	handlers []func(namespace, name string)
}

// New returns a source; Close ends its watches.
func New(client kubernetes.Interface, log *slog.Logger) *Objects {
	ctx, cancel := context.WithCancel(context.Background())
	return &Objects{client: client, log: log, ctx: ctx, cancel: cancel, watched: map[key]*watched{}}
}

// Close ends all watches and waits for them.
func (o *Objects) Close() {
	o.cancel()
	o.mu.Lock()
	all := make([]*watched, 0, len(o.watched))
	for _, w := range o.watched {
		all = append(all, w)
	}
	o.mu.Unlock()
	for _, w := range all {
		<-w.done
	}
}

// Changed implements volume.Source.
func (o *Objects) Changed(fn func(namespace, name string)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handlers = append(o.handlers, fn)
}

// ConfigMap implements volume.Source.
func (o *Objects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return get[*corev1.ConfigMap](ctx, o, key{"configmaps", namespace, name}, &corev1.ConfigMap{})
}

// Secret implements volume.Source.
func (o *Objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](ctx, o, key{"secrets", namespace, name}, &corev1.Secret{})
}

// Token implements volume.Source by TokenRequest, bound to the pod: the token ends with it.
func (o *Objects) Token(ctx context.Context, pod *corev1.Pod, audience string, expirationSeconds int64) (string, time.Duration, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &expirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	resp, err := o.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return "", 0, fmt.Errorf("cannot get token of service account %s/%s: %w", pod.Namespace, pod.Spec.ServiceAccountName, err)
	}
	if s := resp.Spec.ExpirationSeconds; s != nil {
		expirationSeconds = *s
	}
	return resp.Status.Token, time.Duration(expirationSeconds) * time.Second, nil
}

func get[T runtime.Object](ctx context.Context, o *Objects, k key, example T) (T, error) {
	var zero T
	w := o.watch(k, example)
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := o.awaitSync(ctx, w); err != nil {
		return zero, fmt.Errorf("cannot read %s %s/%s: %w", k.resource, k.namespace, k.name, err)
	}
	obj, ok, err := w.store.GetByKey(k.namespace + "/" + k.name)
	if err != nil {
		return zero, err
	}
	if !ok {
		return zero, apierrors.NewNotFound(schema.GroupResource{Resource: k.resource}, k.name)
	}
	return obj.(T), nil
}

// awaitSync waits for the first list. A list that the API server refuses is not waited for: the reason is the answer.
func (o *Objects) awaitSync(ctx context.Context, w *watched) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !w.synced() {
		o.mu.Lock()
		failed := w.failed
		o.mu.Unlock()
		if failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (o *Objects) watch(k key, example runtime.Object) *watched {
	o.mu.Lock()
	defer o.mu.Unlock()
	if w := o.watched[k]; w != nil {
		w.used = time.Now()
		return w
	}
	ctx, cancel := context.WithCancel(o.ctx)
	w := &watched{cancel: cancel, done: make(chan struct{}), used: time.Now()}
	lw := cache.NewListWatchFromClient(o.client.CoreV1().RESTClient(), k.resource, k.namespace, fields.OneTermEqualSelector(metav1.ObjectNameField, k.name))
	notify := func(any) { o.notify(k) }
	inf := cache.NewSharedIndexInformer(lw, example, 0, nil)
	// A new informer takes its handlers; the only errors are about one that has ended.
	_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: notify, UpdateFunc: func(_, n any) { notify(n) }, DeleteFunc: notify})
	_ = inf.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		w.failed = err
	})
	w.store, w.synced = inf.GetStore(), inf.HasSynced
	o.watched[k] = w
	go func() {
		defer close(w.done)
		inf.RunWithContext(ctx)
	}()
	return w
}

func (o *Objects) notify(k key) {
	o.mu.Lock()
	if w := o.watched[k]; w != nil {
		w.failed = nil
	}
	handlers := o.handlers
	o.mu.Unlock()
	for _, fn := range handlers {
		fn(k.namespace, k.name)
	}
}

// Retain ends the watches of objects that none of pods names, once nobody has asked for them for a while.
func (o *Objects) Retain(pods []*corev1.Pod) {
	used := map[key]bool{}
	for _, p := range pods {
		for _, k := range references(p) {
			used[k] = true
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, w := range o.watched {
		if !used[k] && time.Since(w.used) > idleAfter {
			w.cancel()
			delete(o.watched, k)
		}
	}
}

// references returns the config maps and secrets that a pod's volumes, environment and pulls name.
func references(p *corev1.Pod) []key {
	var out []key
	configMap := func(name string) { out = append(out, key{"configmaps", p.Namespace, name}) }
	secret := func(name string) { out = append(out, key{"secrets", p.Namespace, name}) }
	for _, v := range p.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			configMap(v.ConfigMap.Name)
		case v.Secret != nil:
			secret(v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					configMap(s.ConfigMap.Name)
				}
				if s.Secret != nil {
					secret(s.Secret.Name)
				}
			}
		}
	}
	containers := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
	for i := range p.Spec.EphemeralContainers {
		containers = append(containers, corev1.Container(p.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	for i := range containers {
		for _, e := range containers[i].EnvFrom {
			if e.ConfigMapRef != nil {
				configMap(e.ConfigMapRef.Name)
			}
			if e.SecretRef != nil {
				secret(e.SecretRef.Name)
			}
		}
		for _, e := range containers[i].Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
				configMap(e.ValueFrom.ConfigMapKeyRef.Name)
			}
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				secret(e.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for _, s := range p.Spec.ImagePullSecrets {
		secret(s.Name)
	}
	return out
}
