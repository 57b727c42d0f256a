package cli_test

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestModelFindsWhatIsWrong gives porcupine small histories, so that TestLinearizable's silence means something.
func TestModelFindsWhatIsWrong(t *testing.T) {
	type m = map[string]version
	one, two := version{5, "1"}, version{6, "2"}
	create := porcupine.Operation{Input: call{verb: "create", name: "a", value: "1"}, Output: reply{outcome: done, rev: 5}, Call: 0, Return: 1}
	update := func(client int, rev int64, value string, from, to int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: call{verb: "update", name: "a", value: value, pre: 5}, Output: reply{outcome: done, rev: rev}, Call: from, Return: to}
	}
	get := func(objects m, from, to int64) porcupine.Operation {
		return porcupine.Operation{ClientId: 9, Input: call{verb: "get", name: "a"}, Output: reply{objects: objects}, Call: from, Return: to}
	}
	list := func(rev int64, objects m, from, to int64) porcupine.Operation {
		return porcupine.Operation{ClientId: 9, Input: call{verb: "list"}, Output: reply{rev: rev, objects: objects}, Call: from, Return: to}
	}
	for name, tc := range map[string]struct {
		calls []porcupine.Operation
		right bool
	}{
		"sound":                        {[]porcupine.Operation{create, get(m{"a": one}, 2, 3), update(1, 6, "2", 4, 8), get(m{"a": one}, 5, 6), get(m{"a": two}, 7, 8)}, true},
		"lost write":                   {[]porcupine.Operation{create, get(m{}, 2, 3)}, false},
		"stale read":                   {[]porcupine.Operation{create, update(1, 6, "2", 2, 3), get(m{"a": one}, 4, 5)}, false},
		"stale list":                   {[]porcupine.Operation{create, update(1, 6, "2", 2, 3), list(6, m{"a": one}, 4, 5)}, false},
		"list of a revision gone by":   {[]porcupine.Operation{create, update(1, 6, "2", 2, 3), list(5, m{"a": two}, 4, 5)}, false},
		"two swaps of one version":     {[]porcupine.Operation{create, update(1, 6, "2", 2, 5), update(2, 7, "3", 2, 5)}, false},
		"revision that goes backwards": {[]porcupine.Operation{create, update(1, 4, "2", 2, 3)}, false},
		"conflict with nothing": {[]porcupine.Operation{create, {ClientId: 1, Input: call{verb: "update", name: "a", value: "2", pre: 5},
			Output: reply{outcome: conflict}, Call: 2, Return: 3}}, false},
	} {
		if got := porcupine.CheckOperations(model, tc.calls); got != tc.right {
			t.Errorf("%s: linearizable %t, want %t", name, got, tc.right)
		}
	}
}
