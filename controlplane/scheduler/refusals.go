package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// refusals sums up why nodes did not fit a pod.
type refusals struct {
	nodes  int
	counts map[string]int
	causes cause
}

func (r *refusals) add(list []refusal) {
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	for _, one := range list {
		r.counts[one.text]++
		r.causes |= one.cause
	}
}

// message says it in the words of Kubernetes.
func (r *refusals) message() string {
	if r.nodes == 0 {
		return "no nodes available to schedule pods"
	}
	parts := make([]string, 0, len(r.counts))
	for text, count := range r.counts {
		parts = append(parts, fmt.Sprintf("%d %s", count, text))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", r.nodes, strings.Join(parts, ", "))
}
