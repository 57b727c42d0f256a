package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// each calls do(0) … do(n-1) with so many at once.
func each(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

func measureCreate(ctx context.Context, s *target, o *options) ([]figure, error) {
	payload := strings.Repeat("abcdefghijklmnopqrstuvwxyz012345", 32)
	took := make(latencies, o.objects)
	begin := time.Now()
	err := each(ctx, o.writers, o.objects, func(ctx context.Context, i int) error {
		t := time.Now()
		_, err := s.client.CoreV1().ConfigMaps(s.namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i), Labels: map[string]string{"group": fmt.Sprint(i % 10)}},
			Data:       map[string]string{"payload": payload},
		}, metav1.CreateOptions{})
		took[i] = time.Since(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		{fmt.Sprintf("create ConfigMap of 1 KiB, %d writers", o.writers), perSecond, []float64{rate(o.objects, begin)}, kubernetesCreate, goalTwice},
		{"its p50 / p99", milliseconds, took.middleAndTail(), kubernetesCreateTail, "p99 " + goalHalf},
	}, nil
}

// tenth selects a tenth of what measureCreate made.
var tenth = metav1.ListOptions{LabelSelector: "group=3"}

// lists are so many of each kind: what one takes varies by half with the collections of garbage in the client.
const lists = 50

// measureList reads what measureCreate made, whole and a tenth of it: into objects, and as bytes that nobody decodes, which
// is the server's part and the connection's.
func measureList(ctx context.Context, s *target, o *options) ([]figure, error) {
	objects := func(ctx context.Context, l metav1.ListOptions) error {
		_, err := s.client.CoreV1().ConfigMaps(s.namespace).List(ctx, l)
		return err
	}
	undecoded := func(ctx context.Context, l metav1.ListOptions) error {
		body, err := s.listRequest(l).Stream(ctx)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, body)
		return errors.Join(err, body.Close())
	}
	var figures []figure
	for _, c := range []struct {
		name      string
		list      func(context.Context, metav1.ListOptions) error
		options   metav1.ListOptions
		reference string
		goal      string
	}{
		{fmt.Sprintf("list %d of them", o.objects), objects, metav1.ListOptions{}, kubernetesList, goalThird},
		{"list a tenth by label", objects, tenth, kubernetesListLabel, goalThird},
		{fmt.Sprintf("list %d of them, not decoded", o.objects), undecoded, metav1.ListOptions{}, "", ""},
		{"list a tenth by label, not decoded", undecoded, tenth, "", ""},
	} {
		var took latencies
		for range lists {
			begin := time.Now()
			if err := c.list(ctx, c.options); err != nil {
				return nil, err
			}
			took = append(took, time.Since(begin))
		}
		figures = append(figures, figure{c.name, milliseconds, []float64{took.quantile(.5)}, c.reference, c.goal})
	}
	return figures, nil
}

// listRequest is what a typed client sends for a list.
func (t *target) listRequest(l metav1.ListOptions) *rest.Request {
	return t.client.CoreV1().RESTClient().Get().Namespace(t.namespace).Resource("configmaps").VersionedParams(&l, scheme.ParameterCodec).
		SetHeader("Accept", runtime.ContentTypeProtobuf, runtime.ContentTypeJSON)
}

// watchRuns is how often measureWatch watches: once is half a second, and the machine may be slow just then.
const watchRuns = 7

// measureWatch takes the time from a create to its event at each of many watchers. Median and tail are the medians of the runs'.
func measureWatch(ctx context.Context, s *target, o *options) ([]figure, error) {
	values := make([][]float64, 2)
	for run := range watchRuns {
		took, err := watchOnce(ctx, s, o, fmt.Sprintf("watch-%d", run))
		if err != nil {
			return nil, err
		}
		for i, v := range took.middleAndTail() {
			values[i] = append(values[i], v)
		}
	}
	return []figure{{fmt.Sprintf("event to %d watchers, p50 / p99", o.watchers), milliseconds, medians(values), kubernetesWatch, goalHalf}}, nil
}

// watchOnce returns what the events of one run took. Nothing else may have the label, which is its own.
func watchOnce(ctx context.Context, s *target, o *options, label string) (latencies, error) {
	const events = 200
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	sent := map[string]time.Time{}
	var took latencies
	var g errgroup.Group
	for range o.watchers {
		w, err := s.client.CoreV1().Secrets(s.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "bench=" + label})
		if err != nil {
			return nil, err
		}
		g.Go(func() error { return receive(w, events, &mu, sent, &took) })
	}
	for i := range events {
		name := fmt.Sprintf("bench-%s-%d", label, i)
		mu.Lock()
		sent[name] = time.Now()
		mu.Unlock()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bench": label}}}
		if _, err := s.client.CoreV1().Secrets(s.namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return took, nil
}

func receive(w watch.Interface, want int, mu *sync.Mutex, sent map[string]time.Time, took *latencies) error {
	defer w.Stop()
	for got := 0; got < want; {
		e, ok := <-w.ResultChan()
		if !ok {
			return fmt.Errorf("a watch ended after %d of %d events", got, want)
		}
		secret, ok := e.Object.(*corev1.Secret)
		if !ok {
			return apierrors.FromObject(e.Object)
		}
		now := time.Now()
		mu.Lock()
		*took = append(*took, now.Sub(sent[secret.Name]))
		mu.Unlock()
		got++
	}
	return nil
}
