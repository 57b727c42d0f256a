package admission

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
)

const (
	// quotaTimeout bounds the charging of one batch of writes.
	quotaTimeout = 10 * time.Second
	// quotaAttempts is how often a batch is charged anew because a quota changed meanwhile. The pause before each
	// doubles up to quotaPause: another server's write has to reach this one's cache first.
	quotaAttempts = 12
	quotaPause    = 64 * time.Millisecond
)

// resourceQuota refuses what would use more than the quotas of its namespace have left.
//
// A write is charged before it is made: status.used of the quotas is raised by compare-and-swap, so that no two
// writers anywhere take the same room. When the write then fails, the charge is given back; should that fail too, or
// the server die in between, the quota controller's count corrects it. Writers of one namespace that come while a
// charge is under way are charged together by the next: a hundred writers cost a few writes of the quota.
//
//	Validate -> queue of the namespace -> (leader) charge a batch -> written -> Settle: kept, or given back
type resourceQuota struct {
	silent
	client Reader
	ledger *quota.Ledger

	mu     sync.Mutex
	queues map[string][]*quotaWork // by namespace; the key is there while a leader is at work
}

// quotaWork is a write that waits to be charged, or (without request) charges that wait to be given back. It is
// its queue's leader's until done is closed.
type quotaWork struct {
	request *Request
	rules   *quota.Evaluator
	giving  []quotaCharge

	taken   []quotaCharge
	blocked bool // a quota of it could not be written in this attempt
	err     error
	done    chan struct{} // closed by the leader when taken and err are final
	lead    chan struct{} // capacity 1: what a leader that is done puts in makes this one the leader
}

// quotaCharge is what was taken from one quota.
type quotaCharge struct {
	uid    types.UID
	amount corev1.ResourceList
	note   *quota.Entry
}

func newResourceQuota(c Reader, l *quota.Ledger) *resourceQuota {
	return &resourceQuota{client: c, ledger: l, queues: map[string][]*quotaWork{}}
}

func (*resourceQuota) Name() string { return "ResourceQuota" }

// unmetered are resources that are never counted: they come and go by the server's own doing.
var unmetered = map[schema.GroupResource]bool{
	{Resource: "events"}:                         true,
	{Group: "events.k8s.io", Resource: "events"}: true,
}

func (p *resourceQuota) Validate(ctx context.Context, r *Request) error {
	if r.Object == nil || !r.Kind.Namespaced || r.Verb == kind.Update && !mayGrow(r) || r.Verb == kind.Create && r.Subresource != "" {
		return nil
	}
	quotas, err := p.client().List(ctx, kind.Of[*corev1.ResourceQuota](), client.Query{Namespace: r.Namespace})
	if err != nil || len(quotas) == 0 {
		return err
	}
	if unmetered[r.Kind.GroupResource()] {
		return nil
	}
	w := &quotaWork{request: r, rules: quota.For(r.Kind.GroupResource())}
	p.run(ctx, r.Namespace, w)
	if w.err != nil {
		return w.err
	}
	if len(w.taken) > 0 {
		ctx := context.WithoutCancel(ctx)
		r.OnSettled(func(o Outcome) { p.settle(ctx, r.Namespace, w.taken, o) })
	}
	return nil
}

// mayGrow says whether an update can use more than before. It is asked of every update and so must be quick.
func mayGrow(r *Request) bool {
	switch r.Object.(type) {
	case *corev1.Pod, *corev1.Service, *corev1.PersistentVolumeClaim:
		return quota.For(r.Kind.GroupResource()).Watches(r.Verb, r.Subresource)
	}
	return false
}

// settle ends charges whose write has been made, and gives back those whose write has not.
func (p *resourceQuota) settle(ctx context.Context, namespace string, taken []quotaCharge, o Outcome) {
	if o == Refused {
		p.run(ctx, namespace, &quotaWork{giving: taken}) // an error leaves it to the controller's count
	}
	for _, c := range taken {
		c.note.End()
	}
}

// run has w done by the leader of its namespace's queue, or as the leader together with all that wait.
func (p *resourceQuota) run(ctx context.Context, namespace string, w *quotaWork) {
	w.done, w.lead = make(chan struct{}), make(chan struct{}, 1)
	p.mu.Lock()
	queue, led := p.queues[namespace]
	p.queues[namespace] = append(queue, w)
	p.mu.Unlock()
	if led {
		select {
		case <-w.done:
			return
		case <-w.lead:
		}
	}
	p.mu.Lock()
	batch := p.queues[namespace]
	p.queues[namespace] = nil
	p.mu.Unlock()
	defer func() {
		for _, b := range batch {
			close(b.done)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if next := p.queues[namespace]; len(next) > 0 {
			next[0].lead <- struct{}{}
			return
		}
		delete(p.queues, namespace)
	}()
	// The batch is others' too: this request's end does not end it, and it is the server's write.
	ctx, cancel := context.WithTimeout(kind.WithUser(context.WithoutCancel(ctx), nil), quotaTimeout)
	defer cancel()
	p.charge(ctx, namespace, batch)
}
