package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// operation is one call of a client; reply is what it was told.
type operation struct {
	verb, name, value string
}

type reply struct {
	missing bool   // NotFound, or AlreadyExists for a create
	value   string // what was read, replaced or deleted; for a list all objects
}

// objects is the model's state: name to value, as sorted text so that states can be compared.
type objects map[string]string

func (o objects) String() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		out = append(out, name+"="+o[name])
	}
	return strings.Join(out, " ")
}

// model is what the store must look like to clients: one map, changed and read by one client at a time.
var model = porcupine.Model{
	Init: func() any { return objects{} },
	Step: func(state, input, output any) (bool, any) {
		now, op, got := state.(objects), input.(operation), output.(reply)
		before, exists := now[op.name]
		switch op.verb {
		case "list":
			return got.value == now.String(), now
		case "get":
			return got.missing == !exists && got.value == before, now
		case "create":
			if exists || got.missing {
				return exists && got.missing, now
			}
			return true, with(now, op.name, op.value)
		}
		if !exists || got.missing {
			return !exists && got.missing, now
		}
		if op.verb == "delete" {
			return got.value == before, without(now, op.name)
		}
		return got.value == before, with(now, op.name, op.value)
	},
	Equal:             func(a, b any) bool { return maps.Equal(a.(objects), b.(objects)) },
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) },
}

func with(o objects, name, value string) objects {
	out := maps.Clone(o)
	out[name] = value
	return out
}

func without(o objects, name string) objects {
	out := maps.Clone(o)
	delete(out, name)
	return out
}

// TestLinearizable has clients of two servers on one etcd read and write a few objects at once, and asks porcupine
// for an order of all the calls that explains every answer.
func TestLinearizable(t *testing.T) {
	const clients, calls, keys = 8, 60, 3
	m, _ := startEtcd(t, etcd.Config{})
	var stores [2]*Store
	for i := range stores {
		stores[i] = New(m.Client, testKinds, Options{Log: quiet()})
		runStore(t, stores[i])
	}
	verbs := []string{"create", "create", "update", "update", "delete", "get", "get", "list"}
	var mu sync.Mutex
	var history []porcupine.Operation
	start := time.Now()
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for i := range calls {
				op := operation{verbs[random.IntN(len(verbs))], fmt.Sprint("cm-", random.IntN(keys)), fmt.Sprint(n, ".", i)}
				if op.verb == "list" || op.verb == "get" || op.verb == "delete" {
					op.value = ""
				}
				call := time.Since(start)
				got, err := perform(t, stores[n%len(stores)], op)
				if err != nil {
					t.Errorf("%v: %v", op, err)
					return
				}
				done := porcupine.Operation{ClientId: n, Input: op, Call: int64(call), Output: got, Return: int64(time.Since(start))}
				mu.Lock()
				history = append(history, done)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if result := porcupine.CheckOperationsTimeout(model, history, 20*time.Second); result != porcupine.Ok {
		t.Errorf("the history of %d calls is not linearizable: %v", len(history), result)
	}
}

// perform makes one call.
func perform(t *testing.T, s *Store, op operation) (reply, error) {
	ctx := t.Context()
	var item *Item
	var err error
	var before string
	switch op.verb {
	case "create":
		_, err = s.Create(ctx, configMaps, configMap("default", op.name, op.value), 0)
		if apierrors.IsAlreadyExists(err) {
			return reply{missing: true}, nil
		}
		return reply{}, err
	case "list":
		list, err := s.List(ctx, configMaps, ListQuery{})
		if err != nil {
			return reply{}, err
		}
		all := objects{}
		for _, it := range list.Items {
			all[it.Object.GetName()] = valueOf(it)
		}
		return reply{value: all.String()}, nil
	case "get":
		item, err = s.Get(ctx, configMaps, "default", op.name, "")
	case "delete":
		item, err = s.Delete(ctx, configMaps, "default", op.name, nil)
	case "update":
		_, err = s.Update(ctx, configMaps, "default", op.name, func(cur *Item) (kind.Object, error) {
			before = valueOf(cur)
			return setValue(op.value)(cur)
		})
	}
	if apierrors.IsNotFound(err) {
		return reply{missing: true}, nil
	}
	if err != nil {
		return reply{}, err
	}
	if item != nil {
		before = valueOf(item)
	}
	return reply{value: before}, nil
}
