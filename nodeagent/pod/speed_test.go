package pod_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestSpeed is a regression guard with room for a busy machine; the figures are in its log.
func TestSpeed(t *testing.T) {
	g := newRig(t)
	g.start()
	var took []time.Duration
	for i := range 10 {
		name := fmt.Sprintf("one-%d", i)
		start := time.Now()
		g.create(newPod(name, idle))
		g.await(name, "ready", isReady)
		took = append(took, time.Since(start))
		g.remove(name, 5)
		g.awaitGone(name)
	}
	slices.Sort(took)
	start := time.Now()
	for i := range 30 {
		g.create(newPod(fmt.Sprintf("many-%d", i), idle))
	}
	for i := range 30 {
		g.await(fmt.Sprintf("many-%d", i), "ready", isReady)
	}
	all := time.Since(start)
	start = time.Now()
	for i := range 30 {
		g.remove(fmt.Sprintf("many-%d", i), 5)
	}
	for i := range 30 {
		g.awaitGone(fmt.Sprintf("many-%d", i))
	}
	t.Logf("one pod: p50 %v, worst %v; 30 at once: %v; their end: %v", took[len(took)/2], took[len(took)-1], all, time.Since(start))
	if took[len(took)/2] > time.Second || all > 15*time.Second {
		t.Error("far slower than it ought to be")
	}
}
