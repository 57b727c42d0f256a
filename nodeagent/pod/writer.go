package pod

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// statusWriter sends a pod's status to the API, one request at a time: what changes meanwhile goes into the next one. A
// change is sent at once; only a request that failed is put off.
type statusWriter struct {
	m               *Manager
	namespace, name string
	uid             types.UID
	wake            chan struct{} // capacity 1; never closed
	quit            chan struct{} // closed by stop

	mu      sync.Mutex
	want    *corev1.PodStatus
	api     *corev1.PodStatus // as the API has it, as far as is known; nil: not seen yet, and nothing is sent
	busy    bool              // a request is under way: what the watch shows may be older than its answer
	gone    bool
	waiters []chan error // of flush; capacity 1 each, written once
	stopped bool
}

// Pauses after a request that failed.
const (
	writeRetry    = 100 * time.Millisecond
	writeRetryMax = 5 * time.Second
)

func newStatusWriter(m *Manager, pod *corev1.Pod) *statusWriter {
	return &statusWriter{
		m: m, namespace: pod.Namespace, name: pod.Name, uid: pod.UID,
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
	}
}

// set says what the status is to be.
func (s *statusWriter) set(status *corev1.PodStatus) {
	s.mu.Lock()
	s.want = status
	s.mu.Unlock()
	s.poke()
}

// observe takes what the watch shows.
func (s *statusWriter) observe(pod *corev1.Pod) {
	s.mu.Lock()
	if !s.busy {
		s.api = pod.Status.DeepCopy()
	}
	s.mu.Unlock()
	s.poke()
}

func (s *statusWriter) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// flush waits until the API has the status, or no pod to have it.
func (s *statusWriter) flush(ctx context.Context, status *corev1.PodStatus) error {
	done := make(chan error, 1)
	s.mu.Lock()
	s.want = status
	s.waiters = append(s.waiters, done)
	s.mu.Unlock()
	s.poke()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return context.Canceled
	}
}

func (s *statusWriter) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.quit)
	}
}

func (s *statusWriter) run(ctx context.Context) {
	pause := writeRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.quit:
			return
		case <-s.wake:
		}
		err := s.write(ctx)
		if err == nil {
			pause = writeRetry
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.m.cfg.Logger.Warn("cannot write pod's status", "pod", s.namespace+"/"+s.name, "error", err)
		t := time.NewTimer(pause) // of the network, not of the pod: real time
		select {
		case <-ctx.Done():
		case <-s.quit:
		case <-t.C:
		}
		t.Stop()
		pause = min(2*pause, writeRetryMax)
		s.poke()
	}
}

// write sends the difference between what the API has and what it is to have.
func (s *statusWriter) write(ctx context.Context) error {
	s.mu.Lock()
	want, api, waiters := s.want, s.api, s.waiters
	if s.gone || want == nil || apiequality.Semantic.DeepEqual(want, api) {
		s.waiters = nil
		s.mu.Unlock()
		for _, w := range waiters {
			w <- nil
		}
		return nil
	}
	if api == nil {
		s.mu.Unlock()
		return nil
	}
	s.busy = true
	s.mu.Unlock()
	result, err := s.patch(ctx, api, want)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	switch {
	case err == nil:
		s.api = result
	case apierrors.IsNotFound(err):
		s.gone = true
	default:
		return err
	}
	s.poke() // answer waiters, or send what came meanwhile
	return nil
}

func (s *statusWriter) patch(ctx context.Context, from, to *corev1.PodStatus) (*corev1.PodStatus, error) {
	before, err := json.Marshal(corev1.Pod{Status: *from})
	if err != nil {
		return nil, fmt.Errorf("cannot encode status: %w", err)
	}
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: s.uid}, Status: *to})
	if err != nil {
		return nil, fmt.Errorf("cannot encode status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("cannot compare statuses: %w", err)
	}
	pod, err := s.m.cfg.Client.CoreV1().Pods(s.namespace).Patch(ctx, s.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return nil, err
	}
	if pod.UID != s.uid {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), s.name) // another one has its name
	}
	// What was sent counts, not the answer: fields that the server defaults or drops would be sent for ever.
	out := to.DeepCopy()
	return out, nil
}
