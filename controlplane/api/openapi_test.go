package api_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// TestOpenAPI holds the documents against those of kube-apiserver of the pinned libraries' version, which are kept without
// descriptions, and without what is not served here. The definitions are made first: custom resources have documents too.
func TestOpenAPI(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	hc := e.HTTP()
	for _, body := range unzipped[[]json.RawMessage](t, "definitions.json.gz") {
		code, _, data := do(t, hc, "POST", e.Address+"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/json", "", string(body))
		if code != 201 {
			t.Fatalf("definition: %d %.400s", code, data)
		}
	}
	want := unzipped[map[string]map[string]any](t, "documents.json.gz")
	e.Eventually("custom resources are served", func() bool {
		code, _, _ := do(t, hc, "GET", e.Address+"/openapi/v3/apis/o.example.com/v2", "", "", "")
		return code == 200
	})
	for path, want := range want {
		code, _, data := do(t, hc, "GET", e.Address+path, "", "", "")
		if code != 200 {
			t.Errorf("%s: %d %.200s", path, code, data)
			continue
		}
		var got map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		recorded.Undescribed(got)
		for _, part := range []string{"paths", "definitions", "components/schemas", "components/securitySchemes", "parameters", "info", "security", "securityDefinitions"} {
			compareParts(t, path+" "+part, partOf(got, part), partOf(want, part))
		}
	}
}

func partOf(doc map[string]any, part string) any {
	if first, second := filepath.Split(part); first != "" {
		inner, _ := doc[filepath.Clean(first)].(map[string]any)
		return inner[second]
	}
	return doc[part]
}

// compareParts tells each named thing that is missing or differs. There may be more than is wanted.
func compareParts(t *testing.T, what string, got, want any) {
	t.Helper()
	w, ok := want.(map[string]any)
	if !ok {
		if want != nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
		return
	}
	g, _ := got.(map[string]any)
	for name, want := range w {
		if !reflect.DeepEqual(g[name], want) {
			t.Errorf("%s: %s\n got %.2000s\nwant %.2000s", what, name, toJSON(t, g[name]), toJSON(t, want))
		}
	}
}

func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unzipped[T any](t *testing.T, name string) (out T) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "openapi", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(r).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
