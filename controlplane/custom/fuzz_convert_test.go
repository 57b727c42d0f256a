package custom

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// FuzzConversion has a conversion webhook answer anything, in which UID stands for that of the request. No answer may panic, what
// is refused must be said to be the webhook's fault, and what is taken must be the objects that were asked for, but for labels
// and annotations.
func FuzzConversion(f *testing.F) {
	answer := func(objects string) string {
		return `{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{"uid":"UID","result":{"status":"Success"},"convertedObjects":[` + objects + `]}}`
	}
	const a, b = `{"apiVersion":"example.com/v2","kind":"Dial","metadata":{"namespace":"default","name":"a","uid":"1"},"spec":{"color":"red"}}`,
		`{"apiVersion":"example.com/v2","kind":"Dial","metadata":{"namespace":"default","name":"b","uid":"2","labels":{"x":"y"},"annotations":null,"generation":9},"status":null}`
	if _, err := converted(f, answer(a+","+b)); err != nil {
		f.Fatalf("the right answer is refused: %v", err)
	}
	for _, seed := range []string{
		"", "null", "{}", `{"response":null}`, `{"response":{"uid":"UID","result":{"status":"Failed","message":"no"}}}`,
		answer(a + "," + b), answer(a), answer(b + "," + a), answer(a + "," + b + "," + a), answer(a + ",null"), answer(`{},[]`), answer(`1,"x"`),
		strings.Replace(answer(a+","+b), "UID", "other", 1),
		answer(strings.Replace(a, "v2", "v1", 1) + "," + b), answer(strings.Replace(a, "Dial", "List", 1) + "," + b),
		answer(strings.Replace(a, `{"namespace":"default","name":"a","uid":"1"}`, "null", 1) + "," + b),
		answer(strings.Replace(a, `"uid":"1"`, `"uid":"1","labels":{"a b":"c"},"annotations":{"a":1},"finalizers":5`, 1) + "," + b),
		answer(strings.Replace(a, `"uid":"1"`, `"uid":"1","creationTimestamp":"x","managedFields":[null],"ownerReferences":{}`, 1) + "," + b),
		answer(strings.Replace(a, `{"color":"red"}`, `[1e400,-0,9223372036854775808,1.0,"\ud800",null,{"":{}}]`, 1) + "," + b),
		answer(strings.Replace(a, `{"color":"red"}`, strings.Repeat(`{"a":[`, 900)+strings.Repeat(`]}`, 900), 1) + "," + b),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := converted(t, text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "conversion webhook for example.com/v1, Kind=Dial ") {
				t.Errorf("refused by %q", err)
			}
			return
		}
		for i, obj := range out {
			got, want := obj.(*kind.Custom), dials()[i].(*kind.Custom)
			if got.TypeMeta != (metav1.TypeMeta{}) {
				t.Errorf("object %d is typed %v", i, got.TypeMeta)
			}
			want.Labels, want.Annotations = got.Labels, got.Annotations
			if !reflect.DeepEqual(got.ObjectMeta, want.ObjectMeta) {
				t.Errorf("object %d has the metadata %+v, want %+v", i, got.ObjectMeta, want.ObjectMeta)
			}
			if _, err := json.Marshal(got); err != nil {
				t.Errorf("object %d can not be written: %v", i, err)
			}
		}
	})
}

// dials are stored objects that a webhook is asked to convert.
func dials() []kind.Object {
	var out []kind.Object
	for i, uid := range []types.UID{"1", "2"} {
		out = append(out, &kind.Custom{
			TypeMeta:   metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "Dial"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: string(rune('a' + i)), UID: uid, ResourceVersion: "7", Generation: 3, Labels: map[string]string{"x": "y"}},
			Content:    map[string]any{"spec": map[string]any{"color": "blue"}},
		})
	}
	return out
}

// converted returns the dials in their other version, of a webhook that answers so.
func converted(t testing.TB, answer string) ([]kind.Object, error) {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal([]byte(dialDefinition), crd); err != nil {
		t.Fatal(err)
	}
	crd.Status.AcceptedNames = crd.Spec.Names
	made, err := kinds(crd, func() *smdschema.Schema { return &smdschema.Schema{} }, byWebhook(func(_ context.Context, request, response any) error {
		uid := string(request.(*apiextensionsv1.ConversionReview).Request.UID)
		return json.Unmarshal([]byte(strings.ReplaceAll(answer, "UID", uid)), response)
	}, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	before := dials()
	out, err := made[1].FromStored(t.Context(), before)
	if !reflect.DeepEqual(before, dials()) {
		t.Error("what was converted was changed")
	}
	for _, obj := range out {
		made[1].Row(obj, time.Time{})
		made[1].ValidateUpdate(obj, obj)
	}
	return out, err
}
