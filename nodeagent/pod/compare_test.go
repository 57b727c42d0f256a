package pod

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// A list of containers that was begun before a container ran says nothing about it. Taken as its end, the worker
// would wait for the exit status of a container that runs, and neither probe nor stop it any more.
func TestCompareIgnoresListOlderThanStart(t *testing.T) {
	started := time.Now()
	for name, c := range map[string]struct {
		asOf   time.Time
		states map[string]container.State
		exited bool
	}{
		"not yet listed":   {started.Add(-time.Millisecond), nil, false},
		"not yet started":  {started.Add(-time.Millisecond), map[string]container.State{"id": {Status: container.Missing}}, false},
		"listed and runs":  {started.Add(time.Millisecond), map[string]container.State{"id": {Status: container.Running}}, false},
		"no longer listed": {started.Add(time.Millisecond), nil, true},
		"stopped":          {started.Add(time.Millisecond), map[string]container.State{"id": {Status: container.Stopped}}, true},
	} {
		w := &worker{rec: &podRecord{}, live: map[string]*live{"c": {id: "id", since: started, ended: make(chan struct{})}}}
		w.rec.Containers = map[string]*containerRecord{
			"c": {ID: "id", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}
		w.compare(c.states, c.asOf)
		if got := w.live["c"].exited; got != c.exited {
			t.Errorf("%s: taken as ended: %t, want %t", name, got, c.exited)
		}
	}
}
