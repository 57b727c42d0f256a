package cli_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// version is one version of an object: its resourceVersion and its value, which no other version has.
type version struct {
	rev   int64
	value string
}

// call is what a client asks for; pre is the resourceVersion that an update or a delete names.
type call struct {
	verb, name, value string
	pre               int64
}

// The outcomes of calls.
const (
	done     = "done"
	missing  = "missing"
	exists   = "exists"
	conflict = "conflict"
	unknown  = "unknown" // the answer did not come: the call may have had its effect, now or later, or none
)

// reply is what the client was told. rev is that of the written object or of the list; objects is what was read.
type reply struct {
	outcome string
	rev     int64
	objects map[string]version
}

// history collects the calls of all clients.
type history struct {
	start time.Time
	mu    sync.Mutex
	calls []porcupine.Operation
	// past are reads of what was, which are held against the watches and not against the time of the call.
	past []pastRead
}

// pastRead is a read that may answer with an old state: from a cache, or of a revision that it names.
type pastRead struct {
	what    string
	atLeast int64
	exactly int64
	got     reply
}

func (h *history) add(client int, c call, began time.Duration, r reply) {
	end := int64(time.Since(h.start))
	if r.outcome == unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, porcupine.Operation{ClientId: client, Input: c, Call: int64(began), Output: r, Return: end})
}

func (h *history) addPast(p pastRead) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.past = append(h.past, p)
}

// state is the model: the objects, and the last revision that is known to be over.
type state struct {
	rev     int64
	objects map[string]version
}

// model is what the server must look like: one map that is changed by one client at a time, in the order of its
// revisions.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) { return step(s.(state), in.(call), out.(reply)) },
	Equal: func(a, b any) bool {
		x, y := a.(state), b.(state)
		return x.rev == y.rev && maps.Equal(x.objects, y.objects)
	},
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%+v -> %+v", in, out)
	},
}

func step(s state, c call, r reply) (bool, state) {
	cur, there := s.objects[c.name]
	switch c.verb {
	case "list":
		return r.rev >= s.rev && maps.Equal(s.objects, r.objects), state{max(r.rev, s.rev), s.objects}
	case "get":
		got, found := r.objects[c.name]
		return found == there && got == cur, s
	case "create":
		if r.outcome == exists {
			return there, s
		}
		return !there && r.rev > s.rev, s.with(c.name, version{r.rev, c.value}, r.rev)
	}
	switch r.outcome {
	case missing:
		return !there, s
	case conflict:
		return there && cur.rev != c.pre, s
	}
	if !there || cur.rev != c.pre {
		return false, s
	}
	if c.verb == "delete" { // its answer does not say at which revision
		return true, s.without(c.name, max(s.rev, r.rev))
	}
	return r.rev > s.rev, s.with(c.name, version{r.rev, c.value}, r.rev)
}

func (s state) with(name string, v version, rev int64) state {
	objects := maps.Clone(s.objects)
	if objects == nil {
		objects = map[string]version{}
	}
	objects[name] = v
	return state{rev, objects}
}

func (s state) without(name string, rev int64) state {
	objects := maps.Clone(s.objects)
	delete(objects, name)
	return state{rev, objects}
}

// check holds the history against what the watches saw, and asks porcupine for an order that explains it.
func (h *history) check(t *testing.T, log []event) {
	t.Helper()
	states, written, removed := replayed(t, log)
	h.checkPast(t, states, written)
	var calls []porcupine.Operation
	acknowledged := map[int64]bool{} // the versions whose deletion was answered for
	for _, op := range h.calls {
		if c := op.Input.(call); c.verb == "delete" && op.Output.(reply).outcome == done {
			acknowledged[c.pre] = true
		}
	}
	slices.SortStableFunc(h.calls, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	lost := 0
	for _, op := range h.calls {
		c, r := op.Input.(call), op.Output.(reply)
		writes := c.verb == "create" || c.verb == "update"
		switch {
		case r.outcome == done && writes && written[c.value] != version{r.rev, c.name}:
			t.Errorf("%+v was acknowledged at revision %d and is lost: the watches saw %+v", c, r.rev, written[c.value])
		case r.outcome == done && c.verb == "delete" && removed[c.pre] == 0:
			t.Errorf("%+v was acknowledged and is lost", c)
		case r.outcome == unknown && writes:
			lost++
			rev := written[c.value].rev
			if rev == 0 {
				continue // it had no effect
			}
			op.Output = reply{outcome: done, rev: rev}
		case r.outcome == unknown:
			lost++
			if removed[c.pre] == 0 || acknowledged[c.pre] {
				continue
			}
			acknowledged[c.pre] = true
			op.Output = reply{outcome: done, rev: removed[c.pre]}
		}
		calls = append(calls, op)
	}
	t.Logf("%d calls, of which %d without an answer; %d reads of the past; %d versions", len(h.calls), lost, len(h.past), len(log))
	if result := porcupine.CheckOperationsTimeout(model, calls, time.Minute); result != porcupine.Ok {
		t.Errorf("the history of %d calls is not linearizable: %v", len(calls), result)
	}
}

// replayed turns the log into the state after each of its events, each value's version (with its object's name),
// and the revision at which the version of a revision was deleted.
func replayed(t *testing.T, log []event) (states []state, written map[string]version, removed map[int64]int64) {
	t.Helper()
	states, written, removed = []state{{}}, map[string]version{}, map[int64]int64{}
	for _, e := range log {
		s := states[len(states)-1]
		cur, there := s.objects[e.name]
		if e.rev <= s.rev || (e.kind == "ADDED") == there {
			t.Errorf("the watches saw %+v after revision %d of an object that was there: %t", e, s.rev, there)
		}
		if e.kind == "DELETED" {
			if e.value != cur.value {
				t.Errorf("the watches saw %+v of %+v", e, cur)
			}
			removed[cur.rev] = e.rev
			states = append(states, s.without(e.name, e.rev))
			continue
		}
		if had, twice := written[e.value]; twice {
			t.Errorf("the watches saw %q at revisions %d and %d", e.value, had.rev, e.rev)
		}
		written[e.value] = version{e.rev, e.name}
		states = append(states, s.with(e.name, version{e.rev, e.value}, e.rev))
	}
	return states, written, removed
}

// checkPast holds lists and gets of the past to what was.
func (h *history) checkPast(t *testing.T, states []state, written map[string]version) {
	t.Helper()
	for _, p := range h.past {
		if p.got.rev < p.atLeast || p.exactly > 0 && p.got.rev != p.exactly {
			t.Errorf("%s is of revision %d, want at least %d, exactly %d", p.what, p.got.rev, p.atLeast, p.exactly)
		}
		if p.what == "get" {
			for name, v := range p.got.objects {
				if written[v.value] != (version{v.rev, name}) {
					t.Errorf("a get found %s %+v, the watches %+v", name, v, written[v.value])
				}
			}
			continue
		}
		at, _ := slices.BinarySearchFunc(states, p.got.rev+1, func(s state, rev int64) int { return int(s.rev - rev) })
		if was := states[at-1]; !maps.Equal(was.objects, p.got.objects) {
			t.Errorf("%s of revision %d has %v, it was %v", p.what, p.got.rev, p.got.objects, was.objects)
		}
	}
}
