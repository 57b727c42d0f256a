package pressure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is what can run short, as a kubelet's evictionHard names it.
type Signal string

// NodeFS is the file system of the agent's data directory, with the volumes of pods; ImageFS that of containerd's images
// and containers. Often the two are one.
const (
	MemoryAvailable   Signal = "memory.available"
	NodeFSAvailable   Signal = "nodefs.available"
	NodeFSInodesFree  Signal = "nodefs.inodesFree"
	ImageFSAvailable  Signal = "imagefs.available"
	ImageFSInodesFree Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"
)

// Resources that have a name in evictions only.
const (
	Inodes corev1.ResourceName = "inodes"
	PIDs   corev1.ResourceName = "pids"
)

// kinds has the signals in the order in which shortages are dealt with: what runs out of memory first kills what it should
// not, and a disk fills more slowly. The thresholds are a kubelet's defaults, and a twentieth of the process ids.
var kinds = []struct {
	signal    Signal
	resource  corev1.ResourceName
	condition corev1.NodeConditionType
	threshold string
}{
	{MemoryAvailable, corev1.ResourceMemory, corev1.NodeMemoryPressure, "100Mi"},
	{NodeFSAvailable, corev1.ResourceEphemeralStorage, corev1.NodeDiskPressure, "10%"},
	{NodeFSInodesFree, Inodes, corev1.NodeDiskPressure, "5%"},
	{ImageFSAvailable, corev1.ResourceEphemeralStorage, corev1.NodeDiskPressure, "15%"},
	{ImageFSInodesFree, Inodes, corev1.NodeDiskPressure, "5%"},
	{PIDAvailable, PIDs, corev1.NodePIDPressure, "5%"},
}

// Thresholds say below what the node is short of something. A signal without one is not looked at.
type Thresholds map[Signal]Threshold

// Threshold is a number, of bytes or pieces, or a part of the capacity.
type Threshold struct {
	quantity int64
	percent  float64
	text     string
}

// Of is the threshold for a capacity.
func (t Threshold) Of(capacity int64) int64 {
	if t.percent > 0 {
		return int64(float64(capacity) * t.percent / 100)
	}
	return t.quantity
}

// ParseThresholds reads statements as a kubelet's evictionHard has them, by signal: a quantity, or a percentage of the
// capacity; "0%" turns a signal off. What is not named keeps its default.
func ParseThresholds(statements map[string]string) (Thresholds, error) {
	all := Thresholds{}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k.signal))
		text, ok := statements[string(k.signal)]
		if !ok {
			text = k.threshold
		}
		t, err := parseThreshold(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.signal, err)
		}
		if t != (Threshold{}) {
			all[k.signal] = t
		}
	}
	for name := range statements {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%s: there is no such signal, only %s", name, strings.Join(names, ", "))
		}
	}
	return all, nil
}

// parseThreshold returns the zero value for what turns a signal off: as for a kubelet, nothing and all of it.
func parseThreshold(text string) (Threshold, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(number, 64)
		if err != nil || !(p >= 0 && p <= 100) {
			return Threshold{}, fmt.Errorf("%q is not a percentage between 0%% and 100%%", text)
		}
		if p == 0 || p == 100 {
			return Threshold{}, nil
		}
		return Threshold{percent: p, text: text}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return Threshold{}, fmt.Errorf("%q is neither a quantity nor a percentage: %w", text, err)
	}
	if q.Value() <= 0 {
		return Threshold{}, fmt.Errorf("%q is not more than nothing: 0%% turns the signal off", text)
	}
	return Threshold{quantity: q.Value(), text: text}, nil
}
