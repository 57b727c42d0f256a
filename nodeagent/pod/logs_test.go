package pod_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

// gate is a client that is slow at first: it takes nothing until it is open.
type gate struct {
	bytes.Buffer
	reached func() // called with the first write
	open    chan struct{}
}

func (w *gate) Write(p []byte) (int, error) {
	w.reached()
	<-w.open
	return w.Buffer.Write(p)
}

// TestFollowOverRotations follows a log from its beginning and from near its end: while the clients take nothing it is rotated
// many times, and then again while they read. They get every line once.
func TestFollowOverRotations(t *testing.T) {
	const before, meanwhile, all = 200, 2000, 6000
	g := newRig(t)
	g.logBytes = 4096
	g.start()
	print := func(from, to int) string {
		return fmt.Sprintf("for i in $(seq %d %d); do echo line $i; done; ", from, to)
	}
	await := func(file string) string { return "until [ -e /tmp/" + file + " ]; do sleep 0.02; done; " }
	g.create(newPod("l", print(1, before)+await("more")+print(before+1, meanwhile)+await("rest")+print(meanwhile+1, all), func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
	}))
	g.await("l", "ready", isReady)
	written := func(line int) {
		g.eventually(fmt.Sprint("line ", line), func() bool {
			return g.logs("l", "c", corev1.PodLogOptions{TailLines: ptr(int64(1))}) == fmt.Sprintf("line %d\n", line)
		})
	}
	touch := func(file string) {
		code, err := g.m.Exec(t.Context(), "default", "l", "c", []string{"touch", "/tmp/" + file}, stream.Streams{})
		if err != nil || code != 0 {
			t.Fatal(code, err)
		}
	}
	written(before)
	followers := []struct {
		first int
		opts  corev1.PodLogOptions
		gate  gate
	}{{first: 1}, {first: before - 9, opts: corev1.PodLogOptions{TailLines: ptr(int64(10))}}}
	open := make(chan struct{})
	release := sync.OnceFunc(func() { close(open) })
	ctx, cancel := context.WithCancel(t.Context())
	var reached, done sync.WaitGroup
	defer func() {
		release()
		cancel()
		done.Wait()
	}()
	for i := range followers {
		f := &followers[i]
		f.opts.Follow = true
		reached.Add(1)
		f.gate.reached, f.gate.open = sync.OnceFunc(reached.Done), open
		done.Go(func() {
			if err := g.m.Logs(ctx, "default", "l", "c", &f.opts, &f.gate); err != nil {
				t.Error(err)
			}
		})
	}
	reached.Wait()
	touch("more")
	written(meanwhile)
	release()
	touch("rest")
	done.Wait()
	for i := range followers {
		f := &followers[i]
		lines := strings.Split(strings.TrimSuffix(f.gate.String(), "\n"), "\n")
		for n, got := range lines {
			if want := fmt.Sprint("line ", f.first+n); got != want {
				t.Errorf("from line %d: %q where %q should be", f.first, got, want)
				break
			}
		}
		if want := all - f.first + 1; len(lines) != want {
			t.Errorf("from line %d: %d lines, want %d", f.first, len(lines), want)
		}
	}
}
