package pod_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
)

// fakeNetwork gives out addresses and connects nothing: loopback inside a pod is enough for these tests.
type fakeNetwork struct {
	mu   sync.Mutex
	pods map[types.UID][]netip.Addr
	next byte
}

func (f *fakeNetwork) Attach(_ context.Context, p network.Pod, _ string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pods[p.UID] == nil {
		f.next++
		f.pods[p.UID] = []netip.Addr{netip.AddrFrom4([4]byte{10, 99, 0, f.next})}
	}
	return f.pods[p.UID], nil
}

func (f *fakeNetwork) Detach(_ context.Context, uid types.UID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, uid)
	return nil
}

func (f *fakeNetwork) Attached() map[types.UID][]netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[types.UID][]netip.Addr{}
	for k, v := range f.pods {
		out[k] = v
	}
	return out
}

// fakeProber gives the verdicts that a test sends.
type fakeProber struct {
	results chan probe.Result
	mu      sync.Mutex
	targets map[string]probe.Target
}

func (f *fakeProber) Start(t probe.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets[t.ContainerID] = t
}

func (f *fakeProber) Stop(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.targets, id)
}

func (f *fakeProber) Results() <-chan probe.Result { return f.results }

// fakeObjects holds config maps and secrets by name.
type fakeObjects struct {
	mu      sync.Mutex
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
	changed []func(namespace, name string)
}

// add puts a config map there, and tells those who asked to be told.
func (f *fakeObjects) add(name string, cm *corev1.ConfigMap) {
	f.mu.Lock()
	f.maps[name] = cm
	f.mu.Unlock()
	f.tell(name)
}

// addSecret does so with a secret.
func (f *fakeObjects) addSecret(name string, s *corev1.Secret) {
	f.mu.Lock()
	f.secrets[name] = s
	f.mu.Unlock()
	f.tell(name)
}

func (f *fakeObjects) tell(name string) {
	f.mu.Lock()
	told := f.changed
	f.mu.Unlock()
	for _, fn := range told {
		fn("default", name)
	}
}

func (f *fakeObjects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cm := f.maps[name]; cm != nil {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
}

func (f *fakeObjects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
}

func (f *fakeObjects) Token(context.Context, *corev1.Pod, string, int64) (string, time.Duration, error) {
	return "", 0, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "")
}

func (f *fakeObjects) Changed(fn func(namespace, name string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = append(f.changed, fn)
}

// recorder keeps events as REASON MESSAGE.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Event(_ runtime.Object, _, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, reason+" "+message)
}

func (r *recorder) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	r.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (r *recorder) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Eventf(o, kind, reason, format, args...)
}

func (r *recorder) has(prefix string) bool { return r.count(prefix) > 0 }

func (r *recorder) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}
