package kube

import (
	"math/rand"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

const generated = 40 // objects of each kind

// TestRoundTrip holds that no field of an API type gets lost: a generated object, read into a state and encoded again,
// is the object, and its state laid over itself is the state.
func TestRoundTrip(t *testing.T) {
	for kind := range testKinds {
		t.Run(kind, func(t *testing.T) {
			k := testEngine(t, kind)
			fill := generator(t)
			for range generated {
				object := k.desc.Object.DeepCopyObject()
				fill.Fill(object)
				content := unstructuredOf(t, object)
				k.prune(content)

				state, err := k.root.decode(content)
				if err != nil {
					t.Fatal(err)
				}
				again, err := k.root.object(state, state)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(content, again); diff != "" {
					t.Fatalf("a field was lost (-object +encoded):\n%s", diff)
				}
				refreshed, err := k.root.refresh(state, content, false)
				if err != nil {
					t.Fatal(err)
				}
				if !refreshed.Equal(state) {
					t.Fatalf("the state changed:\n%s", cmp.Diff(plain(state), plain(refreshed)))
				}
				filled, err := k.root.fill(k.root.unknown(), content)
				if err != nil || !filled.Equal(state) {
					t.Fatalf("an unknown object is filled with something else: %v", err)
				}
			}
		})
	}
}

// TestEncodedFieldsExist holds the other direction: what a configuration encodes to is read by the API's own
// decoder without a field that it does not know.
func TestEncodedFieldsExist(t *testing.T) {
	for kind := range testKinds {
		t.Run(kind, func(t *testing.T) {
			k := testEngine(t, kind)
			object := k.desc.Object.DeepCopyObject()
			generator(t).NilChance(0).NumElements(1, 1).Fill(object)
			content := unstructuredOf(t, object)
			k.prune(content)
			typed := reflect.New(reflect.TypeOf(k.desc.Object).Elem()).Interface()
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, typed, true); err != nil {
				t.Fatal(err)
			}
			for _, f := range k.root.fields {
				if _, ok := content[f.json]; !ok {
					t.Errorf("%s was never generated", f.path)
				}
			}
		})
	}
}

// prune removes from an object what is deliberately no attribute.
func (k *engine) prune(content map[string]any) {
	delete(content, "kind")
	delete(content, "apiVersion")
	delete(content, "status")
	pruneNode(k.root, content)
}

func pruneNode(n *node, value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			switch {
			case member == nil: // a nil slice without omitempty
				delete(value, name)
			case n.kind == kindMap:
				pruneNode(n.elem, member)
			case n.kind != kindObject:
			case n.member(name) == nil && deliberate(n, name), n.member(name) != nil && n.member(name).readOnly:
				delete(value, name)
			case n.member(name) != nil:
				pruneNode(n.member(name).node, member)
			}
		}
	case []any:
		for _, element := range value {
			if n.elem != nil {
				pruneNode(n.elem, element)
			}
		}
	}
}

func deliberate(n *node, name string) bool {
	return n.typ == reflect.TypeFor[metav1.ObjectMeta]() || name == "ephemeralContainers" ||
		n.field("metadata") != nil && name == "spec" && len(n.fields) == 1
}

func unstructuredOf(t *testing.T, object runtime.Object) map[string]any {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// generator fills API types with random values that survive JSON.
func generator(t *testing.T) *randfill.Filler {
	t.Helper()
	own := func(serializer.CodecFactory) []any {
		return []any{
			func(q *resource.Quantity, c randfill.Continue) {
				*q = *resource.NewMilliQuantity(c.Int63n(1e6), resource.DecimalSI)
			},
			func(v *intstr.IntOrString, c randfill.Continue) {
				*v = intstr.FromInt32(c.Int31n(65535))
				if c.Bool() {
					*v = intstr.FromString("name-" + c.String(5))
				}
			},
			func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"a":1}`) },
		}
	}
	return fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, own), rand.NewSource(1), serializer.NewCodecFactory(scheme.Scheme))
}
