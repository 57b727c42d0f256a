// Package eviction has the thresholds below which a node is short of something, as a kubelet's evictionHard states them: who
// writes them into a host's configuration, and who acts by them, read them alike.
// See https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/.
package eviction

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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

// defaults are a kubelet's, and a twentieth of the process ids.
var defaults = []struct {
	signal    Signal
	threshold string
}{
	{MemoryAvailable, "100Mi"},
	{NodeFSAvailable, "10%"},
	{NodeFSInodesFree, "5%"},
	{ImageFSAvailable, "15%"},
	{ImageFSInodesFree, "5%"},
	{PIDAvailable, "5%"},
}

// Error is about one entry of what Parse was given.
type Error struct {
	Signal string
	Reason string
}

func (e *Error) Error() string { return e.Signal + ": " + e.Reason }

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

func (t Threshold) String() string { return t.text }

// Parse reads statements as a kubelet's evictionHard has them, by signal: a quantity, or a percentage of the capacity;
// "0%" turns a signal off. What is not named keeps its default. An error is an *Error.
func Parse(statements map[string]string) (Thresholds, error) {
	all := Thresholds{}
	var names []string
	for _, d := range defaults {
		names = append(names, string(d.signal))
		text, ok := statements[string(d.signal)]
		if !ok {
			text = d.threshold
		}
		t, err := parse(text)
		if err != nil {
			return nil, &Error{string(d.signal), err.Error()}
		}
		if t != (Threshold{}) {
			all[d.signal] = t
		}
	}
	for name := range statements {
		if !slices.Contains(names, name) {
			return nil, &Error{name, "there is no such signal, only " + strings.Join(names, ", ")}
		}
	}
	return all, nil
}

// parse returns the zero value for what turns a signal off: as for a kubelet, nothing and all of it.
func parse(text string) (Threshold, error) {
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
