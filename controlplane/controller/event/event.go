// Package event writes core/v1 Events through a client.Client, counted and bounded as client-go's recorder
// does: the same event of the same object is one Event with a count, and an object that is the subject of very
// many is heard of less and less.
package event

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	// maxKnown bounds the memory of what was written; all of it is forgotten beyond, which only begins new counts.
	maxKnown = 4096
	// waiting is how many events may wait to be written before further ones are dropped.
	waiting = 1024
	// An object may have burst events at once and one more in each refill, as client-go's spam filter has it.
	burst      = 25
	refill     = 5 * time.Minute
	maxMessage = 1024
	// Events are written at this rate at most, after a burst: they must not take the place of what they tell of.
	perSecond = 100
	atOnce    = 200
	// droppedEvery is how often it is logged that events were dropped.
	droppedEvery = time.Minute
	// stopTimeout is how long events that wait are still written after the end.
	stopTimeout = 2 * time.Second
)

// Recorder notes what happened to objects, for users. A nil *Recorder drops everything. It is safe for
// concurrent use and never blocks.
type Recorder struct {
	component string
	queue     *pipe
}

// pipe is what recorders of one writer share.
type pipe struct {
	client client.Client
	log    *slog.Logger
	events chan *corev1.Event // never closed; what does not fit is dropped and counted
	now    func() time.Time

	mu      sync.Mutex
	dropped int
	buckets map[string]*bucket

	known map[string]*corev1.Event // used by Run's goroutine only
}

type bucket struct {
	tokens float64
	at     time.Time
}

// New returns a recorder whose events name component as their source. Nothing is written before Run.
func New(c client.Client, component string, log *slog.Logger) *Recorder {
	if log == nil {
		log = slog.Default()
	}
	return &Recorder{component: component, queue: &pipe{
		client: c, log: log, events: make(chan *corev1.Event, waiting), now: time.Now,
		buckets: map[string]*bucket{}, known: map[string]*corev1.Event{},
	}}
}

// For returns a recorder of another component that shares r's writer.
func (r *Recorder) For(component string) *Recorder {
	if r == nil {
		return nil
	}
	return &Recorder{component: component, queue: r.queue}
}

// Normal records something that is as it should be.
func (r *Recorder) Normal(obj kind.Object, reason, format string, args ...any) {
	r.record(corev1.EventTypeNormal, obj, reason, format, args...)
}

// Warning records something that a user should look at.
func (r *Recorder) Warning(obj kind.Object, reason, format string, args ...any) {
	r.record(corev1.EventTypeWarning, obj, reason, format, args...)
}

func (r *Recorder) record(eventType string, obj kind.Object, reason, format string, args ...any) {
	if r == nil {
		return
	}
	q := r.queue
	now := q.now()
	ref := reference(obj)
	if !q.allow(r.component+"/"+string(ref.UID), now) {
		return
	}
	message := fmt.Sprintf(format, args...)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", ref.Name, now.UnixNano()), Namespace: namespace},
		InvolvedObject: ref, Reason: reason, Message: message, Type: eventType, Count: 1,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now),
		Source: corev1.EventSource{Component: r.component}, ReportingController: r.component,
	}
	select {
	case q.events <- e:
	default:
		q.mu.Lock()
		q.dropped++
		q.mu.Unlock()
	}
}

// reference names obj by the table of kinds, since objects from the cache have no TypeMeta.
func reference(obj kind.Object) corev1.ObjectReference {
	ref := corev1.ObjectReference{
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
	}
	if k := kind.Builtin().ByType(obj); k != nil {
		ref.APIVersion, ref.Kind = k.GroupVersionKind.ToAPIVersionAndKind()
	}
	return ref
}

func (q *pipe) allow(key string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.buckets[key]
	if b == nil {
		if len(q.buckets) >= maxKnown {
			q.buckets = map[string]*bucket{}
		}
		b = &bucket{tokens: burst, at: now}
		q.buckets[key] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()/refill.Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Run writes events until ctx ends, and then what still waits, for at most two seconds.
func (r *Recorder) Run(ctx context.Context) error {
	q := r.queue
	limit := rate.NewLimiter(perSecond, atOnce)
	dropped := time.NewTicker(droppedEvery)
	defer dropped.Stop()
	for ctx.Err() == nil {
		select {
		case e := <-q.events:
			if limit.Wait(ctx) != nil { // ctx has ended
				q.writeRest(ctx, e)
				return nil
			}
			q.write(ctx, e)
		case <-dropped.C:
			q.logDropped()
		case <-ctx.Done():
		}
	}
	q.writeRest(ctx)
	return nil
}

// writeRest writes what waits when ctx has ended.
func (q *pipe) writeRest(ctx context.Context, first ...*corev1.Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	for _, e := range first {
		if !q.write(ctx, e) {
			return
		}
	}
	for {
		select {
		case e := <-q.events:
			if !q.write(ctx, e) { // the API is gone too
				return
			}
		default:
			return
		}
	}
}

func (q *pipe) logDropped() {
	q.mu.Lock()
	dropped := q.dropped
	q.dropped = 0
	q.mu.Unlock()
	if dropped > 0 {
		q.log.Warn("events were dropped: more than may be written", "count", dropped)
	}
}

// write writes one event and says whether that succeeded.
func (q *pipe) write(ctx context.Context, e *corev1.Event) bool {
	key := strings.Join([]string{e.Source.Component, string(e.InvolvedObject.UID), e.InvolvedObject.Name, e.Type, e.Reason, e.Message}, "\x00")
	stored, err := q.store(ctx, q.known[key], e)
	if err != nil {
		if ctx.Err() == nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			q.log.Warn("cannot write event", "object", e.InvolvedObject.Name, "namespace", e.Namespace, "reason", e.Reason, "message", e.Message, "error", err)
		}
		return false
	}
	if len(q.known) >= maxKnown {
		q.known = map[string]*corev1.Event{}
	}
	q.known[key] = stored
	return true
}

// store counts up the Event that is there already, or creates one.
func (q *pipe) store(ctx context.Context, known, e *corev1.Event) (*corev1.Event, error) {
	if known == nil {
		return client.Create(ctx, q.client, e)
	}
	next := known.DeepCopy()
	next.Count++
	next.LastTimestamp = e.LastTimestamp
	next.ResourceVersion = ""
	got, err := client.Update(ctx, q.client, next)
	if apierrors.IsNotFound(err) {
		return client.Create(ctx, q.client, e)
	}
	return got, err
}
