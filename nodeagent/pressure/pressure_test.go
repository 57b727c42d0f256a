package pressure_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
)

// What this machine has is found, and kept apart from what it has in all.
func TestHost(t *testing.T) {
	none, err := eviction.Parse(map[string]string{
		"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%", "pid.available": "0%",
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := eviction.Parse(map[string]string{
		"memory.available": "1Ei", "nodefs.available": "1Ei", "nodefs.inodesFree": "1E", "imagefs.available": "1Ei", "imagefs.inodesFree": "1E", "pid.available": "1E",
	})
	if err != nil {
		t.Fatal(err)
	}
	if short := pressure.New(pressure.Config{Thresholds: none, NodeFS: "/dev/shm", ImageFS: "/dev/shm"}).Look(); len(short) > 0 {
		t.Errorf("short of %+v without thresholds", short)
	}
	m := pressure.New(pressure.Config{Thresholds: all, NodeFS: "/dev/shm", ImageFS: "/dev/shm"})
	short := m.Look()
	if len(short) != len(all) {
		t.Errorf("%d signals were measured: %+v", len(short), short)
	}
	for _, s := range short {
		if capacity, _ := m.Capacity(s.Signal); s.Available <= 0 || s.Available > capacity {
			t.Errorf("%s: %d of %d", s.Signal, s.Available, capacity)
		}
	}
	if m := pressure.New(pressure.Config{Thresholds: all, NodeFS: "/nowhere"}); len(m.Look()) != 2 {
		t.Errorf("without disks: %+v", m.Look())
	}
}

func TestConditions(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(time.Now())
	seen := map[eviction.Signal]pressure.Observation{}
	changes := 0
	thresholds, err := eviction.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	set := func(memory, disk, pids int64) {
		seen[eviction.MemoryAvailable] = pressure.Observation{Available: memory << 20, Capacity: 4 << 30}
		seen[eviction.NodeFSAvailable] = pressure.Observation{Available: disk, Capacity: 1000}
		seen[eviction.NodeFSInodesFree] = pressure.Observation{Available: disk, Capacity: 1000}
		seen[eviction.PIDAvailable] = pressure.Observation{Available: pids, Capacity: 1000}
	}
	set(100, 100, 50)
	m := pressure.New(pressure.Config{
		Thresholds: thresholds, NodeFS: "/data", Clock: clk, Changed: func() { changes++ },
		Observe: func() map[eviction.Signal]pressure.Observation { return seen },
	})
	for _, step := range []struct {
		what               string
		after              time.Duration
		memory, disk, pids int64
		short, under       string
		changed            bool
	}{
		{"at the thresholds", 0, 100, 100, 50, "", "", false},
		{"little memory", time.Second, 99, 100, 50, "memory.available", "MemoryPressure: memory.available is below its threshold of 100Mi", true},
		{"less", time.Second, 50, 100, 50, "memory.available", "MemoryPressure: memory.available is below its threshold of 100Mi", false},
		{"enough again", time.Second, 200, 100, 50, "", "MemoryPressure: memory.available was below its threshold of 100Mi in the last 5m0s", true},
		{"little disk", time.Second, 200, 99, 50, "nodefs.available", "MemoryPressure: memory.available was below its threshold of 100Mi in the last 5m0s, DiskPressure: nodefs.available is below its threshold of 10%", true},
		{"nearly over", 5*time.Minute - 3*time.Second, 200, 99, 50, "nodefs.available", "MemoryPressure: memory.available was below its threshold of 100Mi in the last 5m0s, DiskPressure: nodefs.available is below its threshold of 10%", false},
		{"over", time.Second, 200, 99, 50, "nodefs.available", "DiskPressure: nodefs.available is below its threshold of 10%", true},
		{"no inodes either", time.Second, 200, 49, 50, "nodefs.available nodefs.inodesFree", "DiskPressure: nodefs.available is below its threshold of 10%", false},
		{"everything", 5 * time.Minute, 1, 49, 49, "memory.available nodefs.available nodefs.inodesFree pid.available",
			"MemoryPressure: memory.available is below its threshold of 100Mi, DiskPressure: nodefs.available is below its threshold of 10%, PIDPressure: pid.available is below its threshold of 5%", true},
		{"all over", 5 * time.Minute, 200, 200, 200, "", "", true},
		{"still", time.Second, 200, 200, 200, "", "", false},
	} {
		clk.SetTime(clk.Now().Add(step.after))
		set(step.memory, step.disk, step.pids)
		before := changes
		var short, under []string
		for _, s := range m.Look() {
			short = append(short, string(s.Signal))
		}
		var types []corev1.NodeConditionType
		for _, c := range m.Conditions() {
			if c.Under {
				types = append(types, c.Type)
				under = append(under, fmt.Sprintf("%s: %s", c.Type, c.Message))
			}
		}
		if got := strings.Join(short, " "); got != step.short {
			t.Errorf("%s: short of %q", step.what, got)
		}
		if got := strings.Join(under, ", "); got != step.under {
			t.Errorf("%s: %q", step.what, got)
		}
		if !slices.Equal(types, m.Under()) {
			t.Errorf("%s: %v and %v", step.what, types, m.Under())
		}
		if changed := changes - before; changed != map[bool]int{true: 1}[step.changed] {
			t.Errorf("%s: told of %d changes", step.what, changed)
		}
	}
	m.Resume([]corev1.NodeConditionType{corev1.NodePIDPressure})
	if m.Look(); !slices.Equal(m.Under(), []corev1.NodeConditionType{corev1.NodePIDPressure}) {
		t.Errorf("what was reported before is forgotten: %v", m.Under())
	}
	clk.SetTime(clk.Now().Add(pressure.TransitionPeriod))
	if m.Look(); len(m.Under()) > 0 {
		t.Errorf("what was reported before stays: %v", m.Under())
	}
}

func TestShortageMessage(t *testing.T) {
	for _, tc := range []struct {
		s    pressure.Shortage
		want string
	}{
		{pressure.Shortage{Signal: eviction.MemoryAvailable, Resource: corev1.ResourceMemory, Threshold: 100 << 20, Available: 99<<20 + 512<<10},
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 101888Ki. "},
		{pressure.Shortage{Signal: eviction.NodeFSAvailable, Resource: corev1.ResourceEphemeralStorage, Threshold: 2 << 30, Available: 1 << 30},
			"The node was low on resource: ephemeral-storage. Threshold quantity: 2Gi, available: 1Gi. "},
		{pressure.Shortage{Signal: eviction.ImageFSInodesFree, Resource: pressure.Inodes, Threshold: 2048, Available: 1024},
			"The node was low on resource: inodes. Threshold quantity: 2048, available: 1024. "},
	} {
		if got := tc.s.Message(); got != tc.want {
			t.Errorf("%q", got)
		}
	}
}
