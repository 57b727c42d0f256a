package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func service(name string, ips ...string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{ClusterIPs: ips}}
}

// claims returns what etcd holds: claim to holder.
func claims(t *testing.T, s *Store) map[string]string {
	t.Helper()
	resp, err := s.client.Get(t.Context(), s.claims, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range resp.Kvs {
		out[string(kv.Key)[len(s.claims):]] = string(kv.Value)
	}
	return out
}

func setIPs(ips ...string) func(*Item) (kind.Object, error) {
	return func(cur *Item) (kind.Object, error) {
		svc := cur.Object.(*corev1.Service).DeepCopy()
		svc.Spec.ClusterIPs = ips
		return svc, nil
	}
}

func TestClaims(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	expect := func(want map[string]string) {
		t.Helper()
		if got := claims(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("claims = %v, want %v", got, want)
		}
	}
	refused := func(err error, claim string) {
		t.Helper()
		e, ok := errors.AsType[*ClaimError](err)
		if !ok || e.Claim != claim || e.Holder != "core/services/default/a" {
			t.Errorf("error = %v, want that %s is a's", err, claim)
		}
	}
	mustCreate(t, s, services, service("a", "1", "2"))
	_, err := s.Create(ctx, services, service("b", "3", "2"), 0)
	refused(err, "clusterip/2")
	mustCreate(t, s, services, service("b", "3"))
	_, err = s.Update(ctx, services, "default", "b", setIPs("3", "1"))
	refused(err, "clusterip/1")
	const a, b = "core/services/default/a", "core/services/default/b"
	expect(map[string]string{"clusterip/1": a, "clusterip/2": a, "clusterip/3": b})
	if _, err := s.Update(ctx, services, "default", "a", setIPs("2", "4")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(ctx, services, "default", "b", setIPs("3", "1")); err != nil {
		t.Fatal(err)
	}
	expect(map[string]string{"clusterip/1": b, "clusterip/2": a, "clusterip/3": b, "clusterip/4": a})
	if _, err := s.Delete(ctx, services, "default", "b", nil); err != nil {
		t.Fatal(err)
	}
	expect(map[string]string{"clusterip/2": a, "clusterip/4": a})
}

// TestClaimsRepair has claims in etcd that no transaction of a store leaves there.
func TestClaimsRepair(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	mustCreate(t, s, services, service("a", "1"))
	for claim, holder := range map[string]string{"clusterip/8": "core/services/default/gone", "clusterip/9": "core/services/default/a"} {
		if _, err := s.client.Put(ctx, s.claims+claim, holder); err != nil {
			t.Fatal(err)
		}
	}
	mustCreate(t, s, services, service("b", "8"))
	if _, err := s.Update(ctx, services, "default", "a", setIPs("1", "9")); err != nil {
		t.Errorf("an object can not use a claim that it holds: %v", err)
	}
	if _, err := s.client.Put(ctx, s.claims+"clusterip/1", "core/services/default/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(ctx, services, "default", "a", nil); err != nil {
		t.Fatal(err)
	}
	if got := claims(t, s); got["clusterip/1"] != "core/services/default/b" || len(got) != 2 {
		t.Errorf("after a delete claims = %v, want another's to stay", got)
	}
}

// TestClaimsAreExclusive has many writers create and delete objects over few claims; each that succeeds must be
// alone.
func TestClaimsAreExclusive(t *testing.T) {
	const writers, rounds, addresses = 8, 40, 3
	ctx, s := t.Context(), newStore(t, Options{})
	var holders [addresses]atomic.Int32 // from after a create until before the delete
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			name := fmt.Sprint("svc-", n)
			for i := range rounds {
				ip := (n + i) % addresses
				_, err := s.Create(ctx, services, service(name, fmt.Sprint(ip)), 0)
				if _, ok := errors.AsType[*ClaimError](err); ok {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders[ip].Add(1); n != 1 {
					t.Errorf("%s got address %d, which %d others have", name, ip, n-1)
				}
				holders[ip].Add(-1)
				if _, err := s.Delete(ctx, services, "default", name, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := claims(t, s); len(got) != 0 {
		t.Errorf("claims without objects: %v", got)
	}
}

func TestTTL(t *testing.T) {
	ctx, s := t.Context(), newStore(t, Options{})
	event := func(name string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	r := watchFrom(t, s, events, WatchQuery{})
	for _, name := range []string{"a", "b"} {
		if _, err := s.Create(ctx, events, event(name), time.Second); err != nil {
			t.Fatal(err)
		}
		r.expect("+" + name)
	}
	if a, err := s.Get(ctx, events, "default", "a", ""); err != nil || a.lease == 0 {
		t.Fatalf("an object that expires = %+v, %v", a, err)
	}
	// An update gives the object the life of its kind, an hour.
	if _, err := s.Update(ctx, events, "default", "b", func(cur *Item) (kind.Object, error) {
		ev := cur.Object.(*corev1.Event).DeepCopy()
		ev.Count++
		return ev, nil
	}); err != nil {
		t.Fatal(err)
	}
	r.expect("~b", "-a")
	list, err := s.List(ctx, events, ListQuery{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("after the expiry there are %v, %v; want only b", list, err)
	}
}
