package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const namespace = metav1.NamespaceDefault

// each calls do(0) … do(n-1) with so many at once.
func each(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

func measureCreate(ctx context.Context, s *server, o *options) error {
	payload := strings.Repeat("abcdefghijklmnopqrstuvwxyz012345", 32)
	took := make(latencies, o.objects)
	begin := time.Now()
	err := each(ctx, o.writers, o.objects, func(ctx context.Context, i int) error {
		t := time.Now()
		_, err := s.client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i), Labels: map[string]string{"group": fmt.Sprint(i % 10)}},
			Data:       map[string]string{"payload": payload},
		}, metav1.CreateOptions{})
		took[i] = time.Since(t)
		return err
	})
	if err != nil {
		return err
	}
	row(fmt.Sprintf("create ConfigMap of 1 KiB, %d writers", o.writers), kubernetesCreate, "%.0f a second", float64(o.objects)/time.Since(begin).Seconds())
	row("  p50 / p99", kubernetesCreateTail, "%s / %s", ms(took.quantile(.5)), ms(took.quantile(.99)))
	return nil
}

func measureList(ctx context.Context, s *server, o *options) error {
	for _, c := range []struct{ name, selector, kubernetes string }{
		{fmt.Sprintf("list %d of them", o.objects), "", kubernetesList}, {"list a tenth by label", "group=3", kubernetesListLabel},
	} {
		var took latencies
		for range 10 {
			t := time.Now()
			if _, err := s.client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: c.selector}); err != nil {
				return err
			}
			took = append(took, time.Since(t))
		}
		row(c.name, c.kubernetes, "%s", ms(took.quantile(.5)))
	}
	return nil
}

// measureWatch takes the time from a create to its event at each of many watchers.
func measureWatch(ctx context.Context, s *server, o *options) error {
	const events = 200
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	sent := map[string]time.Time{}
	var took latencies
	var g errgroup.Group
	for range o.watchers {
		w, err := s.client.CoreV1().Secrets(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "bench=watch"})
		if err != nil {
			return err
		}
		g.Go(func() error { return receive(w, events, &mu, sent, &took) })
	}
	for i := range events {
		name := fmt.Sprintf("bench-watch-%d", i)
		mu.Lock()
		sent[name] = time.Now()
		mu.Unlock()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bench": "watch"}}}
		if _, err := s.client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	row(fmt.Sprintf("event to %d watchers, p50 / p99", o.watchers), kubernetesWatch, "%s / %s", ms(took.quantile(.5)), ms(took.quantile(.99)))
	return nil
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
