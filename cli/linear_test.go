package cli_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// killsEnv asks TestLinearizable for more than its few kills: FAIRLEAD_KILLS=200.
const killsEnv = "FAIRLEAD_KILLS"

const (
	namespace = "default"
	// killsPerRun bounds a history, and keeps what a watch is away for within what a restart replays.
	killsPerRun = 5
	clients     = 8
	names       = 4
	// callsPerLife is how many calls a server answers at least before it is killed.
	callsPerLife = 250
	protobuf     = "application/vnd.kubernetes.protobuf"
)

// TestLinearizable has clients read, write and watch while the server is killed and started again, over and over.
// No write that was acknowledged may be lost, every watch must see every version once and in order, and there must
// be one order of all the calls that explains every answer. Addresses and ports of services are neither lost nor given twice.
func TestLinearizable(t *testing.T) {
	kills := 3
	if text := os.Getenv(killsEnv); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s=%s: %v", killsEnv, text, err)
		}
	}
	for n := 0; kills > 0; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { linearRun(t, uint64(n), min(kills, killsPerRun)) })
		kills -= killsPerRun
	}
}

func linearRun(t *testing.T, seed uint64, kills int) {
	p := newProcess(t)
	p.start()
	w := &workload{process: p, history: history{start: time.Now()}, ready: make(chan struct{})}
	close(w.ready)
	first, err := w.client("").CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=none"})
	if err != nil {
		t.Fatal(err)
	}
	watchers := []*watcher{
		{name: "JSON", client: w.client("")}, {name: "protobuf", client: w.client(protobuf)},
		{name: "selecting", client: w.client(""), opts: metav1.ListOptions{LabelSelector: "even=yes"}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watching, watchCtx := errgroup.WithContext(ctx)
	from := listRevision(first.ResourceVersion)
	for _, o := range watchers {
		o.last = from
		o.opts.FieldSelector = "metadata.name!=kube-root-ca.crt"
		watching.Go(func() error { return o.run(watchCtx, w.up, endName) })
	}
	calling, callCtx := errgroup.WithContext(ctx)
	callCtx, stop := context.WithCancel(callCtx)
	defer stop()
	for n := range clients {
		c := w.caller(n, seed)
		c.listed = from
		calling.Go(func() error { return c.run(callCtx) })
	}
	var allocating []*allocator
	for n := range allocators {
		a := w.allocator(n, seed)
		allocating = append(allocating, a)
		calling.Go(func() error { return a.run(callCtx) })
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		w.await(callCtx, callsPerLife+random.IntN(50))
		w.down()
		p.kill()
		p.start()
		w.upAgain()
	}
	w.await(callCtx, callsPerLife)
	stop()
	if err := calling.Wait(); err != nil {
		t.Fatal(err)
	}
	end := configMap(endName, "", "yes")
	if _, err := w.client("").CoreV1().ConfigMaps(namespace).Create(t.Context(), end, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := watching.Wait(); err != nil {
		t.Fatal(err)
	}
	log := watchers[0].events
	for _, o := range watchers {
		o.compare(t, log)
	}
	w.history.check(t, log)
	checkAllocations(t, w, allocating)
}

// endName is the object whose creation ends the watchers.
const endName = "the-end"

func configMap(name, value, even string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"even": even}},
		Data: map[string]string{"value": value}}
}

func listRevision(text string) int64 {
	return revision(&metav1.ObjectMeta{ResourceVersion: text})
}

// workload is what the clients share.
type workload struct {
	process *process
	history history
	calls   atomic.Int64 // answered ones

	mu    sync.Mutex
	ready chan struct{} // closed while the server is up
}

// client has connections of its own that end with the test.
func (w *workload) client(contentType string) *kubernetes.Clientset {
	w.process.t.Helper()
	c, err := w.process.config()
	if err != nil {
		w.process.t.Fatal(err)
	}
	c.ContentType, c.AcceptContentTypes = contentType, contentType
	hc, err := rest.HTTPClientFor(c)
	if err != nil {
		w.process.t.Fatal(err)
	}
	w.process.t.Cleanup(hc.CloseIdleConnections)
	k, err := kubernetes.NewForConfigAndClient(c, hc)
	if err != nil {
		w.process.t.Fatal(err)
	}
	return k
}

// up waits until the server is ready.
func (w *workload) up(ctx context.Context) {
	w.mu.Lock()
	ready := w.ready
	w.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
	}
}

func (w *workload) down() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = make(chan struct{})
}

func (w *workload) upAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ready)
}

// await waits for that many further answers, or until a client has got one that it may not get, which ends ctx.
func (w *workload) await(ctx context.Context, more int) {
	w.process.t.Helper()
	want := w.calls.Load() + int64(more)
	w.process.eventually("the clients have been answered", func() bool { return ctx.Err() != nil || w.calls.Load() >= want })
}

// caller is one client: it makes one call after another and remembers the versions that it saw.
type caller struct {
	*workload
	number int
	rest   rest.Interface
	random *rand.Rand
	seen   map[string]version // what updates and deletes name
	listed int64              // the newest revision that a list told
	count  int
}

func (w *workload) caller(n int, seed uint64) *caller {
	contentType := ""
	if n%2 == 1 {
		contentType = protobuf
	}
	return &caller{workload: w, number: n, rest: w.client(contentType).CoreV1().RESTClient(),
		random: rand.New(rand.NewPCG(seed, uint64(n)+1)), seen: map[string]version{}}
}

func (c *caller) run(ctx context.Context) error {
	for ctx.Err() == nil {
		c.count++
		answered, err := c.one(ctx)
		if err != nil {
			return fmt.Errorf("client %d: %w", c.number, err)
		}
		if answered {
			c.calls.Add(1)
		} else {
			c.up(ctx)
		}
	}
	return nil
}

// one makes a call and says whether it was answered. Its error is an answer that no call may get.
func (c *caller) one(ctx context.Context) (bool, error) {
	name := fmt.Sprint("cm-", c.random.IntN(names))
	value := fmt.Sprint(c.number, ".", c.count)
	pre := c.seen[name].rev
	switch verb := c.random.IntN(12); {
	case verb < 2:
		return c.read(ctx, call{verb: "get", name: name})
	case verb < 4:
		return c.read(ctx, call{verb: "list"})
	case verb < 6:
		return c.readPast(ctx, name)
	case pre == 0:
		return c.write(ctx, call{verb: "create", name: name, value: value})
	case verb < 7:
		return c.write(ctx, call{verb: "delete", name: name, pre: pre})
	default:
		return c.write(ctx, call{verb: "update", name: name, value: value, pre: pre})
	}
}

// write creates, replaces or deletes. It is sent once: a second try would hide what became of the first.
func (c *caller) write(ctx context.Context, k call) (bool, error) {
	obj := configMap(k.name, k.value, map[bool]string{true: "yes", false: "no"}[c.count%2 == 0])
	var req *rest.Request
	switch k.verb {
	case "create":
		req = c.rest.Post().VersionedParams(&metav1.CreateOptions{}, scheme.ParameterCodec).Body(obj)
	case "update":
		obj.ResourceVersion = strconv.FormatInt(k.pre, 10)
		req = c.rest.Put().Name(k.name).Body(obj)
	case "delete":
		rv := strconv.FormatInt(k.pre, 10)
		req = c.rest.Delete().Name(k.name).Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &rv}})
	}
	began := time.Since(c.history.start)
	got := &corev1.ConfigMap{}
	result := req.Namespace(namespace).Resource("configmaps").MaxRetries(0).Do(ctx)
	err := result.Error()
	if err == nil && k.verb != "delete" {
		err = result.Into(got)
	}
	r := reply{outcome: outcomeOf(err)}
	if r.outcome == done && k.verb != "delete" {
		r.rev = revision(got)
	}
	c.history.add(c.number, k, began, r)
	delete(c.seen, k.name)
	switch {
	case r.outcome == done && k.verb != "delete":
		c.seen[k.name] = version{r.rev, k.value}
	case r.outcome == exists, r.outcome == conflict:
		_, readErr := c.read(ctx, call{verb: "get", name: k.name})
		return true, readErr
	}
	return r.outcome != unknown, refused(err)
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return done
	case apierrors.IsNotFound(err):
		return missing
	case apierrors.IsAlreadyExists(err):
		return exists
	case apierrors.IsConflict(err):
		return conflict
	}
	return unknown
}

// refused returns an error that a sound server does not give, whatever happens to it.
func refused(err error) error {
	if apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return err
	}
	return nil
}

// read reads one object, or all of them, on a random number of pages, as they are now.
func (c *caller) read(ctx context.Context, k call) (bool, error) {
	began := time.Since(c.history.start)
	if k.verb == "get" {
		got := &corev1.ConfigMap{}
		err := c.rest.Get().Namespace(namespace).Resource("configmaps").Name(k.name).Do(ctx).Into(got)
		r := reply{outcome: outcomeOf(err), objects: map[string]version{}}
		if r.outcome == unknown {
			return false, refused(err)
		}
		if r.outcome == done {
			c.remember(&r, got)
		}
		c.history.add(c.number, k, began, r)
		return true, nil
	}
	r, err := c.list(ctx, metav1.ListOptions{Limit: int64(c.random.IntN(3))})
	if err != nil {
		return false, refused(err)
	}
	c.history.add(c.number, k, began, r)
	return true, nil
}

// readPast reads what the cache has, or what was at a revision.
func (c *caller) readPast(ctx context.Context, name string) (bool, error) {
	p := pastRead{what: "list"}
	opts := metav1.ListOptions{ResourceVersion: "0"}
	switch c.random.IntN(4) {
	case 0:
		got := &corev1.ConfigMap{}
		err := c.rest.Get().Namespace(namespace).Resource("configmaps").Name(name).Param("resourceVersion", "0").Do(ctx).Into(got)
		p.what, p.got = "get", reply{objects: map[string]version{}}
		if err != nil {
			return apierrors.IsNotFound(err), refused(err)
		}
		c.remember(&p.got, got)
		c.history.addPast(p)
		return true, nil
	case 1:
		p.what = "list of the cache"
	case 2:
		p.what, p.atLeast = "list not older than", c.listed
		opts.ResourceVersion, opts.ResourceVersionMatch = strconv.FormatInt(c.listed, 10), metav1.ResourceVersionMatchNotOlderThan
	case 3:
		p.what, p.exactly = "list of exactly", c.listed
		opts.ResourceVersion, opts.ResourceVersionMatch = strconv.FormatInt(c.listed, 10), metav1.ResourceVersionMatchExact
		opts.Limit = int64(c.random.IntN(3))
	}
	var err error
	if p.got, err = c.list(ctx, opts); err != nil {
		return false, refused(err)
	}
	c.history.addPast(p)
	return true, nil
}

// list reads all pages of a list; they must be of one revision.
func (c *caller) list(ctx context.Context, opts metav1.ListOptions) (reply, error) {
	r := reply{outcome: done, objects: map[string]version{}}
	for {
		got := &corev1.ConfigMapList{}
		err := c.rest.Get().Namespace(namespace).Resource("configmaps").VersionedParams(&opts, scheme.ParameterCodec).Do(ctx).Into(got)
		if err != nil {
			return r, err
		}
		rev := listRevision(got.ResourceVersion)
		if r.rev != 0 && r.rev != rev {
			return r, apierrors.NewBadRequest(fmt.Sprintf("one list has pages of revisions %d and %d", r.rev, rev))
		}
		r.rev = rev
		c.listed = max(c.listed, rev)
		for i := range got.Items {
			if cm := &got.Items[i]; cm.Name != "kube-root-ca.crt" {
				r.objects[cm.Name] = version{revision(cm), cm.Data["value"]}
			}
		}
		if got.Continue == "" {
			return r, nil
		}
		opts = metav1.ListOptions{Limit: opts.Limit, Continue: got.Continue}
	}
}

func (c *caller) remember(r *reply, cm *corev1.ConfigMap) {
	v := version{revision(cm), cm.Data["value"]}
	r.objects[cm.Name], c.seen[cm.Name] = v, v
}
