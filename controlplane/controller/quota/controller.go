// Package quota keeps the status of ResourceQuotas true. Admission raises what is used before it lets a write
// through and never lowers it: this controller counts afresh when objects go or shrink, when a quota is new or
// changed, and from time to time.
package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	counting "github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
)

const (
	workers = 4
	resync  = 5 * time.Minute
	// swaps is how often one count is written anew at once when charges came in between.
	swaps = 10
	// again is when a quota is counted once more that had charges under way, or whose limits have only just come
	// into force: a write that passed admission before may have been stored after the count.
	again = time.Second
)

type controller struct {
	client client.Client
	kinds  *kind.Table
	ledger *counting.Ledger
	now    func() time.Time

	mu     sync.Mutex
	quotas map[string]map[string]*corev1.ResourceQuota // by namespace and name
}

// New returns the controller. ledger is that of admission in this process, or nil.
func New(c client.Client, kinds *kind.Table, ledger *counting.Ledger) loop.Controller {
	r := &controller{client: c, kinds: kinds, ledger: ledger, now: time.Now, quotas: map[string]map[string]*corev1.ResourceQuota{}}
	own := kind.Of[*corev1.ResourceQuota]()
	ctl := loop.Controller{Name: "resourcequota", For: own, Workers: workers, Resync: resync, Reconcile: r.reconcile}
	ctl.Also = append(ctl.Also, loop.Source{Kind: own, Keys: r.note})
	ctl.Each = &loop.Each{Kinds: kinds, Defined: r.defined, Keys: func(k *kind.Kind) func(client.Event) []loop.Key {
		if !k.Namespaced {
			return nil
		}
		return func(e client.Event) []loop.Key { return r.released(k.GroupResource(), e) }
	}}
	return ctl
}

// defined returns the quotas that count objects of a kind, of which there were none before.
func (r *controller) defined(k *kind.Kind) []loop.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []loop.Key
	for _, in := range r.quotas {
		for _, q := range in {
			if counting.Concerns(q, k.GroupResource()) {
				keys = append(keys, loop.KeyOf(q))
			}
		}
	}
	return keys
}

// note remembers which quotas there are.
func (r *controller) note(e client.Event) []loop.Key {
	q := e.Object.(*corev1.ResourceQuota)
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.quotas[q.Namespace]
	if e.Type == watch.Deleted {
		if delete(in, q.Name); len(in) == 0 {
			delete(r.quotas, q.Namespace)
		}
		return nil
	}
	if in == nil {
		in = map[string]*corev1.ResourceQuota{}
		r.quotas[q.Namespace] = in
	}
	in[q.Name] = q
	return nil
}

// released returns the quotas of which an event may have set something free.
func (r *controller) released(gr schema.GroupResource, e client.Event) []loop.Key {
	if e.Type == watch.Added {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []loop.Key
	for _, q := range r.quotas[e.Object.GetNamespace()] {
		if !counting.Concerns(q, gr) {
			continue
		}
		if rules := counting.For(gr); e.Type == watch.Modified && rules.InScopes(q, e.Object) == rules.InScopes(q, e.Old) &&
			counting.Equal(rules.Usage(e.Object), rules.Usage(e.Old)) && counting.Expires(e.Object, r.now()).Equal(counting.Expires(e.Old, r.now())) {
			continue
		}
		keys = append(keys, loop.KeyOf(q))
	}
	return keys
}

func (r *controller) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	var err error
	for range swaps {
		var result loop.Result
		if result, err = r.recount(ctx, key); !apierrors.IsConflict(err) {
			return result, err
		}
	}
	return loop.Result{}, err
}

func (r *controller) recount(ctx context.Context, key loop.Key) (loop.Result, error) {
	q, err := client.Get[*corev1.ResourceQuota](ctx, r.client, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	// In this order: a charge that is not noted any more has its object in what is listed below.
	open, underWay := r.ledger.Open(q.UID)
	var expires time.Time
	used, err := counting.Count(q, func(gr schema.GroupResource) ([]kind.Object, error) {
		objs, err := r.list(ctx, q.Namespace, gr)
		for _, obj := range objs {
			if at := counting.Expires(obj, r.now()); !at.IsZero() && (expires.IsZero() || at.Before(expires)) {
				expires = at
			}
		}
		return objs, err
	})
	if err != nil {
		return loop.Result{}, fmt.Errorf("cannot count for quota %s: %w", key, err)
	}
	var result loop.Result
	if !expires.IsZero() {
		result.After = max(expires.Sub(r.now()), 0) + again
	}
	next := q.DeepCopy()
	next.Status = corev1.ResourceQuotaStatus{Hard: next.Spec.Hard, Used: counting.Uncounted(used, q.Status.Used, open)}
	changed := !counting.Equal(next.Status.Hard, q.Status.Hard)
	if underWay || changed {
		result.After = again
	}
	if !changed && counting.Equal(next.Status.Used, q.Status.Used) {
		return result, nil
	}
	// with its resourceVersion: a charge that was made meanwhile must not be forgotten
	if _, err := client.UpdateStatus(ctx, r.client, next); err != nil && !apierrors.IsNotFound(err) {
		return loop.Result{}, fmt.Errorf("cannot update status of quota %s: %w", key, err)
	}
	return result, nil
}

// list returns the objects of a resource in a namespace, of whatever version it is served in.
func (r *controller) list(ctx context.Context, namespace string, gr schema.GroupResource) ([]kind.Object, error) {
	if k := r.kinds.ByGroupResource(gr); k != nil && k.Namespaced {
		return r.client.List(ctx, k, client.Query{Namespace: namespace})
	}
	return nil, counting.ErrUnknownResource
}
