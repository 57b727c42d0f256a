// Package pressure says what a node is short of. It measures memory, disks and process ids, compares them with thresholds and
// derives the node's conditions. What the node reports, which pods it refuses and which it evicts all go by what one look
// has found, so that they do not contradict each other.
package pressure

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/clock"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
)

// Resources that have a name in evictions only.
const (
	Inodes corev1.ResourceName = "inodes"
	PIDs   corev1.ResourceName = "pids"
)

// kinds has the signals in the order in which shortages are dealt with: what runs out of memory first kills what it should
// not, and a disk fills more slowly.
var kinds = []struct {
	signal    eviction.Signal
	resource  corev1.ResourceName
	condition corev1.NodeConditionType
}{
	{eviction.MemoryAvailable, corev1.ResourceMemory, corev1.NodeMemoryPressure},
	{eviction.NodeFSAvailable, corev1.ResourceEphemeralStorage, corev1.NodeDiskPressure},
	{eviction.NodeFSInodesFree, Inodes, corev1.NodeDiskPressure},
	{eviction.ImageFSAvailable, corev1.ResourceEphemeralStorage, corev1.NodeDiskPressure},
	{eviction.ImageFSInodesFree, Inodes, corev1.NodeDiskPressure},
	{eviction.PIDAvailable, PIDs, corev1.NodePIDPressure},
}

// TransitionPeriod is how long a condition stays after it was true last, so that it does not come and go; it is a
// kubelet's default.
const TransitionPeriod = 5 * time.Minute

// Config says what is measured.
type Config struct {
	Thresholds eviction.Thresholds
	// NodeFS and ImageFS are paths on these file systems.
	NodeFS, ImageFS string
	// Changed is called after a condition has become another one; it must not call the Monitor. It may be nil.
	Changed func()
	Clock   clock.PassiveClock
	// Observe measures; nil: the host.
	Observe func() map[eviction.Signal]Observation
}

// Monitor knows what the node is short of. All methods may be called at once.
type Monitor struct {
	cfg Config

	mu         sync.Mutex
	seen       map[eviction.Signal]Observation
	since      map[corev1.NodeConditionType]held
	conditions []Condition
}

// held is when and by what a condition was found to be true last.
type held struct {
	at        time.Time
	signal    eviction.Signal
	threshold string
}

// Condition is one of the node's conditions of pressure.
type Condition struct {
	Type  corev1.NodeConditionType
	Under bool
	// Message says by what, and whether it is still so. It changes only when that does, not with every measurement.
	Message string
}

// Shortage is a signal that is below its threshold.
type Shortage struct {
	Signal   eviction.Signal
	Resource corev1.ResourceName
	// Threshold and Available are in bytes or pieces.
	Threshold, Available int64
	// Path is on the file system that is short; empty for memory and process ids.
	Path string
}

// New returns a monitor that has looked once.
func New(cfg Config) *Monitor {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func() map[eviction.Signal]Observation { return observe(cfg.NodeFS, cfg.ImageFS) }
	}
	m := &Monitor{cfg: cfg, since: map[corev1.NodeConditionType]held{}}
	m.look()
	return m
}

// Look measures, and returns what the node is short of, the most urgent first.
func (m *Monitor) Look() []Shortage {
	short, changed := m.look()
	if changed && m.cfg.Changed != nil {
		m.cfg.Changed()
	}
	return short
}

func (m *Monitor) look() (short []Shortage, changed bool) {
	seen, now := m.cfg.Observe(), m.cfg.Clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = seen
	for i := len(kinds) - 1; i >= 0; i-- { // the first of several is the one that a condition names
		k := kinds[i]
		t, wanted := m.cfg.Thresholds[k.signal]
		o, known := seen[k.signal]
		if !wanted || !known || o.Available >= t.Of(o.Capacity) {
			continue
		}
		s := Shortage{k.signal, k.resource, t.Of(o.Capacity), o.Available, m.path(k.signal)}
		m.since[k.condition] = held{now, k.signal, t.String()}
		short = append(short, s)
	}
	slices.Reverse(short)
	before := m.conditions
	m.conditions = m.judge(now)
	return short, !slices.Equal(before, m.conditions)
}

// Resume takes up conditions that an earlier process has reported as true: they stay for the transition period, as if they
// were found now.
func (m *Monitor) Resume(under []corev1.NodeConditionType) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Clock.Now()
	for _, t := range under {
		if _, ok := m.since[t]; !ok {
			m.since[t] = held{at: now}
		}
	}
	m.conditions = m.judge(now)
}

// judge says which conditions hold.
func (m *Monitor) judge(now time.Time) []Condition {
	maps.DeleteFunc(m.since, func(_ corev1.NodeConditionType, h held) bool { return now.Sub(h.at) >= TransitionPeriod })
	var out []Condition
	for _, t := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := Condition{Type: t, Message: "there is enough"}
		if h, ok := m.since[t]; ok {
			c.Under = true
			switch {
			case h.signal == "":
				c.Message = fmt.Sprintf("there was too little in the last %s", TransitionPeriod)
			case h.at.Equal(now):
				c.Message = fmt.Sprintf("%s is below its threshold of %s", h.signal, h.threshold)
			default:
				c.Message = fmt.Sprintf("%s was below its threshold of %s in the last %s", h.signal, h.threshold, TransitionPeriod)
			}
		}
		out = append(out, c)
	}
	return out
}

func (m *Monitor) path(s eviction.Signal) string {
	switch s {
	case eviction.NodeFSAvailable, eviction.NodeFSInodesFree:
		return m.cfg.NodeFS
	case eviction.ImageFSAvailable, eviction.ImageFSInodesFree:
		return m.cfg.ImageFS
	}
	return ""
}

// ImageFS is a path on the file system of images and containers; empty when it is not known.
func (m *Monitor) ImageFS() string { return m.cfg.ImageFS }

// Conditions are the three that a node has, as the last look found them.
func (m *Monitor) Conditions() []Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conditions
}

// Under are the types of the conditions that hold.
func (m *Monitor) Under() []corev1.NodeConditionType {
	var out []corev1.NodeConditionType
	for _, c := range m.Conditions() {
		if c.Under {
			out = append(out, c.Type)
		}
	}
	return out
}

// Capacity is all there is of a signal's resource, and threshold what of it is kept from pods.
func (m *Monitor) Capacity(s eviction.Signal) (capacity, threshold int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	capacity = m.seen[s].Capacity
	return capacity, m.cfg.Thresholds[s].Of(capacity)
}

// Message is the beginning of what an evicted pod's status says, in a kubelet's words.
func (s Shortage) Message() string {
	return fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ",
		s.Resource, quantity(s.Signal, s.Threshold), quantity(s.Signal, s.Available))
}

// quantity is a number of bytes or pieces as it is to be read.
func quantity(s eviction.Signal, n int64) *resource.Quantity {
	switch s {
	case eviction.NodeFSInodesFree, eviction.ImageFSInodesFree, eviction.PIDAvailable:
		return resource.NewQuantity(n, resource.DecimalSI)
	}
	return resource.NewQuantity(n, resource.BinarySI)
}
