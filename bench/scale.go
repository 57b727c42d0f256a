package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// pageSize is that of kubectl and of informers.
const pageSize = 500

// measureScale fills a server of its own with many objects and measures what that costs: memory, a restart, a list.
func measureScale(ctx context.Context, o *options) (err error) {
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	payload := strings.Repeat("abcdefghijklmnopqrstuvwxyz012345", 32)
	begin := time.Now()
	err = each(ctx, o.writers, o.stored, func(ctx context.Context, i int) error {
		_, err := s.client.CoreV1().ConfigMaps(s.namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i), Labels: map[string]string{"group": fmt.Sprint(i % 10)}},
			Data:       map[string]string{"payload": payload},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d ConfigMaps of 1 KiB: ", o.stored)
	printAlone(figure{name + "written", perSecond, []float64{rate(o.stored, begin)}, "", ""},
		figure{name + "server memory", megabytes, []float64{s.rss()}, "", "<= 600 MB"})
	if err := s.measurePagedList(ctx, o.stored, name+"paged list"); err != nil {
		return err
	}
	if err := s.restart(ctx, o); err != nil {
		return err
	}
	printAlone(figure{name + "restart to /readyz", milliseconds, []float64{millis(s.readyAfter)}, "", "<= 3 s"})
	if err := s.measurePagedList(ctx, o.stored, name+"paged list after it"); err != nil {
		return err
	}
	if err := sleep(ctx, o.idle); err != nil {
		return err
	}
	printAlone(figure{name + "memory, idle for " + o.idle.String(), megabytes, []float64{s.rss()}, "", ""})
	return nil
}

// measurePagedList reads all objects in pages, as an informer does: in protobuf, as Kubernetes' own components.
func (s *server) measurePagedList(ctx context.Context, want int, name string) error {
	config := rest.CopyConfig(s.config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	begin, got := time.Now(), 0
	for opts := (metav1.ListOptions{Limit: pageSize}); ; {
		list, err := client.CoreV1().ConfigMaps(s.namespace).List(ctx, opts)
		if err != nil {
			return err
		}
		got += len(list.Items)
		if opts.Continue = list.Continue; opts.Continue == "" {
			break
		}
	}
	if got < want {
		return fmt.Errorf("cannot list all: got %d objects of %d", got, want)
	}
	printAlone(figure{name, seconds, []float64{time.Since(begin).Seconds()}, "", "<= 2 s"})
	return nil
}

// measureIdleWatches takes what a server's memory grows by when many watches are open and nothing happens on them.
func measureIdleWatches(ctx context.Context, s *target, o *options) ([]figure, error) {
	before := s.rss()
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	defer func() { cancel(); _ = g.Wait() }()
	err := each(ctx, o.writers, o.idleWatches, func(_ context.Context, i int) error {
		w, err := s.client.CoreV1().ConfigMaps(fmt.Sprintf("bench-idle-%d", i)).Watch(ctx, metav1.ListOptions{AllowWatchBookmarks: true})
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer w.Stop()
			for range w.ResultChan() {
			}
			return nil
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, o.idle/4); err != nil {
		return nil, err
	}
	return []figure{{fmt.Sprintf("%d idle watches added", o.idleWatches), megabytes, []float64{s.rss() - before}, "", "<= 30 MB"}}, nil
}
