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

// ratio is this figure's values over another's.
func (f *figure) ratio(of *figure) string {
	texts := make([]string, len(f.values))
	for i, v := range f.values {
		texts[i] = fmt.Sprintf("%.2f", v/of.values[i])
	}
	return strings.Join(texts, " / ")
}

// medians joins the same figures of several rounds into one of each.
func medians(rounds [][]figure) []figure {
	joined := slices.Clone(rounds[0])
	for i := range joined {
		values := make([]float64, len(joined[i].values))
		for k := range values {
			of := make([]float64, len(rounds))
			for r := range rounds {
				of[r] = rounds[r][i].values[k]
			}
			slices.Sort(of)
			values[k] = of[len(of)/2]
		}
		joined[i].values = values
	}
	return joined
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

// printBeside prints figures beside those of another server that have the same names, and their ratios.
func printBeside(ours, theirs []figure) {
	for _, f := range ours {
		for _, t := range theirs {
			if t.name == f.name {
				row(f.name, f.unit.text(f.values), t.unit.text(t.values), f.ratio(&t), f.goal)
			}
		}
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
