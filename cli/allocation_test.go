package cli_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	allocators = 2
	// firstContested is the first of the node ports that all allocators ask for.
	firstContested, contested = 30000, 3
	// claimsPrefix is where the store keeps who has an address or a port.
	claimsPrefix = "/registry-claims/"
)

// allocator makes, changes and removes services of its own while the server is killed. It remembers what each was given.
type allocator struct {
	*workload
	number   int
	services clientcorev1.ServiceInterface
	random   *rand.Rand
	has      map[string][]string // claims of each service as of the last answer; no entry: unknown
	given    map[string]int      // how often a claim was given by an answer
}

func (w *workload) allocator(n int, seed uint64) *allocator {
	return &allocator{workload: w, number: n, services: w.client("").CoreV1().Services(namespace),
		random: rand.New(rand.NewPCG(seed, uint64(n)+100)), has: map[string][]string{}, given: map[string]int{}}
}

// run ends with ctx. Its error is an answer that does not fit to the answers before.
func (a *allocator) run(ctx context.Context) error {
	for ctx.Err() == nil {
		answered, err := a.one(ctx, fmt.Sprintf("svc-%d-%d", a.number, a.random.IntN(3)))
		if err != nil {
			return fmt.Errorf("allocator %d: %w", a.number, err)
		}
		if !answered {
			a.up(ctx)
		}
	}
	return nil
}

// one reads a service, which must hold what it was given last, and changes what it has.
func (a *allocator) one(ctx context.Context, name string) (bool, error) {
	had, known := a.has[name]
	svc, err := a.services.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, nil
	}
	gone := err != nil
	if now := claimsOf(svc, gone); known && !slices.Equal(now, had) {
		return true, fmt.Errorf("%s has %v, it was given %v", name, now, had)
	}
	spec := corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": name},
		Ports: []corev1.ServicePort{{Name: "any", Port: 80}, {Name: "contested", Port: 81, NodePort: int32(firstContested + a.random.IntN(contested))}}}
	delete(a.has, name) // until the answer
	switch removes := a.random.IntN(3) == 0; {
	case gone:
		gone = false
		svc, err = a.services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	case removes:
		err, gone = a.services.Delete(ctx, name, metav1.DeleteOptions{}), true
	default: // from a node port to none, and back
		if svc.Spec.Type == corev1.ServiceTypeNodePort {
			spec.Type, spec.Ports = corev1.ServiceTypeClusterIP, spec.Ports[:1]
		}
		svc.Spec.Type, svc.Spec.Ports = spec.Type, spec.Ports
		svc, err = a.services.Update(ctx, svc, metav1.UpdateOptions{})
	}
	switch {
	case err == nil:
		a.has[name] = claimsOf(svc, gone)
		for _, claim := range a.has[name] {
			a.given[claim]++
		}
		return true, nil
	case apierrors.IsInvalid(err) && strings.Contains(err.Error(), "provided port is already allocated"), apierrors.IsConflict(err):
		return true, nil // another has the port
	}
	return false, refused(err)
}

// claimsOf are what the cluster has only once and the service holds.
func claimsOf(svc *corev1.Service, gone bool) []string {
	if gone {
		return nil
	}
	return slices.Sorted(slices.Values(kind.Of[*corev1.Service]().Claims(svc)))
}

// checkAllocations ends the server, and holds what its etcd says is taken to what the services have: nothing is held twice,
// nothing is free that a service has, and nothing stays taken that none has.
func checkAllocations(t *testing.T, w *workload, all []*allocator) {
	t.Helper()
	list, err := w.client("").CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for i := range list.Items {
		svc := &list.Items[i]
		holder := "core/services/" + svc.Namespace + "/" + svc.Name
		for _, claim := range claimsOf(svc, false) {
			if other := want[claim]; other != "" {
				t.Errorf("%s and %s have %s", other, holder, claim)
			}
			want[claim] = holder
		}
	}
	given := 0
	for _, a := range all {
		given += len(a.given)
		for name, had := range a.has {
			for _, claim := range had {
				if holder := want[claim]; holder != "core/services/"+namespace+"/"+name {
					t.Errorf("%s was given %s, which %q has", name, claim, holder)
				}
			}
		}
	}
	if given < 10 {
		t.Errorf("the services were given %d addresses and ports: too few to tell anything", given)
	}
	w.process.kill()
	if got := storedClaims(t, w.process.dir); !maps.Equal(got, want) {
		t.Errorf("taken are %v, services have %v", got, want)
	}
}

// storedClaims returns claim to holder.
func storedClaims(t *testing.T, dir string) map[string]string {
	t.Helper()
	m, err := etcd.Start(t.Context(), etcd.Config{DataDir: filepath.Join(dir, "etcd"), Name: "fairlead", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	resp, err := m.Client.Get(t.Context(), claimsPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range resp.Kvs {
		out[strings.TrimPrefix(string(kv.Key), claimsPrefix)] = string(kv.Value)
	}
	return out
}
