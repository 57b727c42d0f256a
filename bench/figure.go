package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// figure is what one measurement found: one value, or a few of the same unit, as a median and a tail.
type figure struct {
	name   string
	unit   unit
	values []float64
	// reference is what Kubernetes has for it, see kubernetes.go; empty when that was not measured.
	reference string
	// goal is what is to be reached; empty when there is none.
	goal string
}

// unit says how values read.
type unit struct{ format, suffix string }

var (
	milliseconds = unit{"%.1f", " ms"}
	seconds      = unit{"%.2f", " s"}
	perSecond    = unit{"%.0f", " a second"}
	megabytes    = unit{"%.0f", " MB"}
)

func (u unit) text(values []float64) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprintf(u.format, v)
	}
	return strings.Join(texts, " / ") + u.suffix
}

// rounds are the same figures, measured several times.
type rounds [][]figure

// values returns, for each value of a figure, what all rounds found.
func (r rounds) values(figure int) [][]float64 {
	values := make([][]float64, len(r[0][figure].values))
	for k := range values {
		for _, found := range r {
			values[k] = append(values[k], found[figure].values[k])
		}
	}
	return values
}

// find returns the place of a figure by name, -1 without.
func (r rounds) find(name string) int {
	return slices.IndexFunc(r[0], func(f figure) bool { return f.name == name })
}

func medians(values [][]float64) []float64 {
	out := make([]float64, len(values))
	for k, of := range values {
		sorted := slices.Sorted(slices.Values(of))
		out[k] = sorted[len(sorted)/2]
	}
	return out
}

// ratios divides round by round, since the machine is not the same in all of them, and returns the median and the range.
func ratios(ours, theirs [][]float64) (median, spread string) {
	var middle, ranges []string
	for k := range ours {
		of := make([]float64, len(ours[k]))
		for i := range of {
			of[i] = ours[k][i] / theirs[k][i]
		}
		slices.Sort(of)
		middle = append(middle, fmt.Sprintf("%.2f", of[len(of)/2]))
		ranges = append(ranges, fmt.Sprintf("%.2f-%.2f", of[0], of[len(of)-1]))
	}
	return strings.Join(middle, " / "), strings.Join(ranges, " / ")
}

func heading(columns ...string) {
	row(columns...)
	rule := make([]string, len(columns))
	for i := range rule {
		rule[i] = "---"
	}
	row(rule...)
}

// row prints one line of the table.
func row(columns ...string) {
	for i, c := range columns {
		width := 22
		switch {
		case i == 0:
			width = 58
		case i > 2:
			width = 15
		}
		fmt.Printf("| %-*s ", width, c)
	}
	fmt.Println("|")
}

// printAlone prints figures beside what Kubernetes had for them.
func printAlone(figures ...figure) {
	for _, f := range figures {
		row(f.name, f.unit.text(f.values), f.reference, f.goal)
	}
}

// printBeside prints the medians of figures beside those of another server, and their ratios.
func printBeside(ours, theirs rounds) {
	for i, f := range ours[0] {
		k := theirs.find(f.name)
		if k < 0 {
			continue
		}
		our, their := ours.values(i), theirs.values(k)
		median, spread := ratios(our, their)
		row(f.name, f.unit.text(medians(our)), f.unit.text(medians(their)), median, spread, f.goal)
	}
}

// latencies are those of one operation; quantile sorts them.
type latencies []time.Duration

// quantile is in milliseconds.
func (l latencies) quantile(q float64) float64 {
	slices.Sort(l)
	return millis(l[int(float64(len(l)-1)*q)])
}

// middleAndTail are the values of a figure that is a latency.
func (l latencies) middleAndTail() []float64 { return []float64{l.quantile(.5), l.quantile(.99)} }

func millis(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/10) / 100 }

func rate(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }
