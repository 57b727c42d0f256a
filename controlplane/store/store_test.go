package store

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	configMaps = &kind.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:           "configmaps",
		Namespaced:       true,
		New:              func() kind.Object { return &corev1.ConfigMap{} },
		NewList:          func() runtime.Object { return &corev1.ConfigMapList{} },
	}
	pods = &kind.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"),
		Plural:           "pods",
		Namespaced:       true,
		New:              func() kind.Object { return &corev1.Pod{} },
		NewList:          func() runtime.Object { return &corev1.PodList{} },
		Indexes: map[string]func(kind.Object) []string{
			"spec.nodeName": func(o kind.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} },
		},
	}
	services = &kind.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Service"),
		Plural:           "services",
		Namespaced:       true,
		New:              func() kind.Object { return &corev1.Service{} },
		NewList:          func() runtime.Object { return &corev1.ServiceList{} },
		Claims: func(o kind.Object) []string {
			var out []string
			for _, ip := range o.(*corev1.Service).Spec.ClusterIPs {
				out = append(out, "clusterip/"+ip)
			}
			return out
		},
	}
	events = &kind.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event"),
		Plural:           "events",
		Namespaced:       true,
		New:              func() kind.Object { return &corev1.Event{} },
		NewList:          func() runtime.Object { return &corev1.EventList{} },
		TTL:              func(kind.Object) time.Duration { return time.Hour },
	}
	testKinds = []*kind.Kind{configMaps, pods, services, events}
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// startEtcd runs a member in dir until the test ends or the returned function is called.
func startEtcd(t testing.TB, cfg etcd.Config) (*etcd.Member, func()) {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	cfg.Log = quiet()
	m, err := etcd.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// runStore runs a store until the test ends or the returned function is called.
func runStore(t testing.TB, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the store is not ready after 10 s")
	}
	return stop
}

// newStore returns a running store on a member of its own.
func newStore(t testing.TB, opts Options) *Store {
	t.Helper()
	m, _ := startEtcd(t, etcd.Config{})
	opts.Log = quiet()
	s := New(m.Client, testKinds, opts)
	runStore(t, s)
	return s
}

func configMap(namespace, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "test"}},
		Data:       map[string]string{"value": value},
	}
}

func mustCreate(t testing.TB, s *Store, k *kind.Kind, obj kind.Object) *Item {
	t.Helper()
	item, err := s.Create(t.Context(), k, obj, 0)
	if err != nil {
		t.Fatal(err)
	}
	return item
}

// settle waits until the cache has what this store has written, for reads that may be stale.
func settle(t testing.TB, s *Store) {
	t.Helper()
	for _, k := range testKinds {
		rev, err := parseRevision(s.LastWrite(k))
		if err == nil {
			err = s.Wait(t.Context(), k, rev)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// setValue is an update of a config map's value.
func setValue(value string) func(*Item) (kind.Object, error) {
	return func(cur *Item) (kind.Object, error) {
		cm := cur.Object.(*corev1.ConfigMap).DeepCopy()
		cm.Data = map[string]string{"value": value}
		return cm, nil
	}
}

func valueOf(i *Item) string { return i.Object.(*corev1.ConfigMap).Data["value"] }

func names(items []*Item) []string {
	var out []string
	for _, it := range items {
		out = append(out, it.key)
	}
	return out
}

func numbered(i int) string { return fmt.Sprintf("cm-%05d", i) }

// dial returns a client of a member that listens there.
func dial(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
