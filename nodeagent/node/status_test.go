package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

// testNode returns a Node whose runtime answers with *away, and whose clock is *now.
func testNode(t *testing.T, now *time.Time, away *error) *Node {
	t.Helper()
	n := New(Config{
		Name: "n1", Address: netip.MustParseAddr("192.0.2.1"), Pressure: pressure.New(pressure.Config{}), Logger: slog.New(slog.DiscardHandler),
		RuntimeVersion: func(context.Context) (string, error) {
			if *away != nil {
				return "", *away
			}
			return "containerd://1", nil
		},
		Ready: func(context.Context) error { return *away },
	})
	n.now = func() time.Time { return *now }
	return n
}

// A runtime that starts again within half a minute must not take the node's pods out of their services.
func TestReadySurvivesShortOutage(t *testing.T) {
	now, away := time.Now(), error(nil)
	n := testNode(t, &now, &away)
	prev := n.status(t.Context(), nil)
	for _, step := range []struct {
		what  string
		after time.Duration
		away  error
		want  corev1.ConditionStatus
	}{
		{"answers", 0, nil, corev1.ConditionTrue},
		{"just gone", time.Second, errors.New("gone"), corev1.ConditionTrue},
		{"nearly too long", unreadyAfter - time.Second, errors.New("gone"), corev1.ConditionTrue},
		{"back", 0, nil, corev1.ConditionTrue},
		{"gone again", unreadyAfter, errors.New("gone"), corev1.ConditionTrue},
		{"gone too long", unreadyAfter, errors.New("gone"), corev1.ConditionFalse},
		{"still gone", time.Second, errors.New("gone"), corev1.ConditionFalse},
		{"back at last", 0, nil, corev1.ConditionTrue},
	} {
		now, away = now.Add(step.after), step.away
		s := n.status(t.Context(), prev)
		if got := condition(s, corev1.NodeReady).Status; got != step.want {
			t.Errorf("%s: Ready is %s, want %s", step.what, got, step.want)
		}
		if got := s.NodeInfo.ContainerRuntimeVersion; got != "containerd://1" {
			t.Errorf("%s: runtime version is %q", step.what, got)
		}
		prev = s
	}
}

// What the agent before this one reported counts, except when the host was started anew or given up meanwhile.
func TestReadyAtStart(t *testing.T) {
	now, away := time.Now(), errors.New("services are not routed yet")
	n := testNode(t, &now, &away)
	boot := n.status(t.Context(), nil).NodeInfo.BootID
	since := metav1.NewTime(now.Add(-time.Hour))
	report := func(s corev1.ConditionStatus, bootID string) *corev1.NodeStatus {
		return &corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{BootID: bootID},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: s, LastTransitionTime: since}},
		}
	}
	for name, c := range map[string]struct {
		prev *corev1.NodeStatus
		want corev1.ConditionStatus
		kept bool
	}{
		"new":       {nil, corev1.ConditionFalse, false},
		"ready":     {report(corev1.ConditionTrue, boot), corev1.ConditionTrue, true},
		"rebooted":  {report(corev1.ConditionTrue, "another"), corev1.ConditionFalse, false},
		"given up":  {report(corev1.ConditionUnknown, boot), corev1.ConditionFalse, false},
		"not ready": {report(corev1.ConditionFalse, boot), corev1.ConditionFalse, true},
	} {
		got := condition(n.status(t.Context(), c.prev), corev1.NodeReady)
		if got.Status != c.want {
			t.Errorf("%s: Ready is %s, want %s", name, got.Status, c.want)
		}
		if kept := got.LastTransitionTime.Equal(&since); kept != c.kept {
			t.Errorf("%s: transition time kept: %t, want %t", name, kept, c.kept)
		}
	}
}

// A network that lacks something keeps new pods away, and takes none of those that run out of their services.
func TestNetworkThatLacksSomething(t *testing.T) {
	now, away := time.Now(), error(nil)
	n := testNode(t, &now, &away)
	var problem error
	n.cfg.Network = func() error { return problem }
	prev := n.status(t.Context(), nil)
	for _, step := range []struct {
		problem error
		want    corev1.ConditionStatus
		message string
	}{
		{nil, corev1.ConditionFalse, "pods reach the network and names resolve"},
		{errors.New("the port is taken"), corev1.ConditionTrue, "the port is taken"},
		{nil, corev1.ConditionFalse, "pods reach the network and names resolve"},
	} {
		problem = step.problem
		s := n.status(t.Context(), prev)
		if got := condition(s, corev1.NodeNetworkUnavailable); got.Status != step.want || got.Message != step.message {
			t.Errorf("with %v the network's condition is %+v", problem, got)
		}
		if got := condition(s, corev1.NodeReady); got.Status != corev1.ConditionTrue {
			t.Errorf("with %v the node is not ready: %s", problem, got.Message)
		}
		prev = s
	}
}

// What the monitor finds is what the node reports, and what is kept from pods is what the thresholds say.
func TestPressure(t *testing.T) {
	now, away := time.Now(), error(nil)
	n := testNode(t, &now, &away)
	seen := map[eviction.Signal]pressure.Observation{}
	thresholds, err := eviction.Parse(map[string]string{"memory.available": "1Gi"})
	if err != nil {
		t.Fatal(err)
	}
	n.cfg.ReservedMemory = 1 << 30
	n.cfg.Pressure = pressure.New(pressure.Config{Thresholds: thresholds, Observe: func() map[eviction.Signal]pressure.Observation { return seen }})
	for _, step := range []struct {
		available          int64
		memory, disk, pids string
	}{
		{500, "False KubeletHasSufficientMemory", "False KubeletHasNoDiskPressure", "False KubeletHasSufficientPID"},
		{1, "True KubeletHasInsufficientMemory", "True KubeletHasDiskPressure", "True KubeletHasInsufficientPID"},
	} {
		seen[eviction.MemoryAvailable] = pressure.Observation{Available: step.available << 30, Capacity: 1000 << 30}
		seen[eviction.NodeFSAvailable] = pressure.Observation{Available: step.available, Capacity: 1000}
		seen[eviction.PIDAvailable] = pressure.Observation{Available: step.available, Capacity: 1000}
		if step.available == 1 {
			seen[eviction.MemoryAvailable] = pressure.Observation{Available: 1<<30 - 1, Capacity: 1000 << 30}
		}
		n.cfg.Pressure.Look()
		s := n.status(t.Context(), nil)
		for kind, want := range map[corev1.NodeConditionType]string{corev1.NodeMemoryPressure: step.memory, corev1.NodeDiskPressure: step.disk, corev1.NodePIDPressure: step.pids} {
			if c := condition(s, kind); string(c.Status)+" "+c.Reason != want {
				t.Errorf("with %d: %+v", step.available, c)
			}
		}
		if got := s.Allocatable.Memory().Value(); got != 998<<30 || s.Capacity.Memory().Value() != 1000<<30 {
			t.Errorf("allocatable memory is %d", got)
		}
		if got := s.Allocatable.StorageEphemeral().Value(); got != 900 || s.Capacity.StorageEphemeral().Value() != 1000 {
			t.Errorf("allocatable storage is %d", got)
		}
	}
	before := n.status(t.Context(), nil)
	n.cfg.Pressure = pressure.New(pressure.Config{})
	n.resumePressure(before)
	if c := condition(n.status(t.Context(), before), corev1.NodeDiskPressure); c.Status != corev1.ConditionTrue {
		t.Errorf("a new agent forgets the pressure: %+v", c)
	}
	before.NodeInfo.BootID = "another"
	n.cfg.Pressure = pressure.New(pressure.Config{})
	n.resumePressure(before)
	if c := condition(n.status(t.Context(), before), corev1.NodeDiskPressure); c.Status != corev1.ConditionFalse {
		t.Errorf("pressure outlives a reboot: %+v", c)
	}
}
