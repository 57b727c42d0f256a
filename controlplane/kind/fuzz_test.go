package kind_test

import (
	"math/rand"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// filled returns an object whose every field may have any value.
func filled(t testing.TB, k *kind.Kind, seed int64) kind.Object {
	t.Helper()
	filler := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), serializer.NewCodecFactory(known))
	obj := k.New()
	filler.Fill(obj)
	return obj
}

// runAll takes objects through every function of their kind: none may panic, whatever they are given.
func runAll(t testing.TB, k *kind.Kind, obj, old kind.Object) {
	t.Helper()
	for _, o := range []kind.Object{obj, old} {
		if k.Default != nil {
			k.Default(o)
		}
	}
	once := obj.DeepCopyObject()
	if k.Default != nil {
		k.Default(obj)
		if !apiequality.Semantic.DeepEqual(once, obj) {
			t.Errorf("defaults of %s are not stable", k.Kind)
		}
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	if k.Complete != nil {
		k.Complete(obj)
	}
	validated(k, obj)
	if k.PrepareUpdate != nil {
		k.PrepareUpdate(obj, old)
	}
	if k.ValidateUpdate != nil {
		k.ValidateUpdate(obj, old)
	}
	if k.Warnings != nil {
		k.Warnings(obj, nil)
		k.Warnings(obj, old)
	}
	if k.Status != nil && k.Status.Validate != nil {
		k.Status.Validate(obj, old)
	}
	if k.Fields != nil {
		k.Fields(obj)
	}
	for _, index := range k.Indexes {
		index(obj)
	}
	if k.Scale != nil {
		k.Scale.Get(obj)
		k.Scale.Set(obj, 1)
	}
	if k.GracePeriod != nil {
		k.GracePeriod(obj, nil)
	}
	if k.Claims != nil {
		k.Claims(obj)
	}
	k.Row(obj, now)
}

func TestRandomObjectsOfEveryKind(t *testing.T) {
	for _, k := range kind.Builtin().Kinds() {
		t.Run(k.Kind, func(t *testing.T) {
			runAll(t, k, k.New(), k.New())
			for seed := range int64(20) {
				runAll(t, k, filled(t, k, seed), filled(t, k, seed+1000))
			}
		})
	}
}

func FuzzPod(f *testing.F) {
	for _, seed := range []int64{0, 1, 42} {
		f.Add(seed)
	}
	k := kind.Of[*corev1.Pod]()
	f.Fuzz(func(t *testing.T, seed int64) { runAll(t, k, filled(t, k, seed), filled(t, k, seed^0x5555)) })
}
