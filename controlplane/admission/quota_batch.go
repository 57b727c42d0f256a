package admission

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
)

// charge does a batch. Every work in it has its result afterwards.
func (p *resourceQuota) charge(ctx context.Context, namespace string, batch []*quotaWork) {
	pending := batch
	pause := time.Millisecond
	for attempt := 1; ; attempt++ {
		err := p.attempt(ctx, namespace, pending)
		pending = slices.DeleteFunc(slices.Clone(pending), func(w *quotaWork) bool { return !w.blocked })
		if len(pending) == 0 {
			break
		}
		if attempt == quotaAttempts || ctx.Err() != nil || !apierrors.IsConflict(err) {
			for _, w := range pending {
				w.err = err
			}
			break
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, quotaPause)
	}
	p.giveBackRefused(ctx, namespace, batch)
}

// plan of an attempt: copies of the quotas as they would be, and whom to tell whether that could be written.
type quotaPlan struct {
	quotas []*corev1.ResourceQuota
	tell   map[types.UID][]func(written bool)
}

// attempt charges each work to all quotas that it falls under and writes the quotas that changed. Works that still
// wait for a quota are left blocked; the error is why.
func (p *resourceQuota) attempt(ctx context.Context, namespace string, works []*quotaWork) error {
	for _, w := range works {
		w.blocked = true
	}
	listed, err := client.List[*corev1.ResourceQuota](ctx, p.client(), client.Query{Namespace: namespace})
	if err != nil {
		return err
	}
	plan := quotaPlan{tell: map[types.UID][]func(bool){}}
	for _, q := range listed {
		plan.quotas = append(plan.quotas, q.DeepCopy())
	}
	for _, w := range works {
		w.blocked = false
		if w.request == nil {
			plan.give(w)
		} else {
			w.err = plan.take(w, p.ledger)
		}
	}
	for _, q := range plan.quotas {
		if len(plan.tell[q.UID]) == 0 {
			continue
		}
		_, failure := client.UpdateStatus(ctx, p.client(), q)
		if apierrors.IsNotFound(failure) {
			failure = nil // what no longer limits needs no charge
		}
		for _, tell := range plan.tell[q.UID] {
			tell(failure == nil)
		}
		if failure != nil && (err == nil || apierrors.IsConflict(err)) {
			err = failure
		}
	}
	return err
}

// take charges one write to all quotas, or to none.
func (plan *quotaPlan) take(w *quotaWork, ledger *quota.Ledger) error {
	charges := make([]corev1.ResourceList, len(plan.quotas))
	before := make([]corev1.ResourceList, len(plan.quotas))
	undo := func() {
		for i, q := range plan.quotas {
			if charges[i] != nil {
				q.Status.Used = before[i]
			}
		}
	}
	for i, q := range plan.quotas {
		if w.has(q.UID) {
			continue // by an earlier attempt
		}
		charge, err := w.rules.Charge(q, w.request.Object, w.request.Old)
		if err == nil && len(charge) > 0 {
			before[i] = q.Status.Used
			if err = quota.Take(q, charge); err == nil {
				charges[i] = charge
			}
		}
		if err != nil {
			undo()
			return forbidden(w.request, err)
		}
	}
	if w.request.DryRun {
		undo()
		return nil
	}
	for i, q := range plan.quotas {
		if charges[i] == nil {
			continue
		}
		c := quotaCharge{uid: q.UID, amount: charges[i], note: ledger.Begin(q.UID, charges[i])}
		plan.tell[q.UID] = append(plan.tell[q.UID], func(written bool) {
			if written {
				w.taken = append(w.taken, c)
				return
			}
			c.note.End()
			w.blocked = true
		})
	}
	return nil
}

func (w *quotaWork) has(uid types.UID) bool {
	return slices.ContainsFunc(w.taken, func(c quotaCharge) bool { return c.uid == uid })
}

// give returns charges to the quotas. One that is gone wants nothing back.
func (plan *quotaPlan) give(w *quotaWork) {
	left := w.giving
	w.giving = nil
	for _, c := range left {
		at := slices.IndexFunc(plan.quotas, func(q *corev1.ResourceQuota) bool { return q.UID == c.uid })
		if at < 0 {
			continue
		}
		quota.Return(plan.quotas[at], c.amount)
		plan.tell[c.uid] = append(plan.tell[c.uid], func(written bool) {
			if !written {
				w.giving = append(w.giving, c)
				w.blocked = true
			}
		})
	}
}

// giveBackRefused returns what works took from one quota before another refused them.
func (p *resourceQuota) giveBackRefused(ctx context.Context, namespace string, batch []*quotaWork) {
	var giving []*quotaWork
	for _, w := range batch {
		if w.err == nil || len(w.taken) == 0 {
			continue
		}
		giving = append(giving, &quotaWork{giving: w.taken})
		for _, c := range w.taken {
			defer c.note.End()
		}
		w.taken = nil
	}
	if len(giving) > 0 {
		p.charge(ctx, namespace, giving)
	}
}
