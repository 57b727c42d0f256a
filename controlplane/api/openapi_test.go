package api_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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
		described(t, path, got)
		recorded.Undescribed(got)
		for _, part := range []string{"paths", "definitions", "components/schemas", "components/securitySchemes", "parameters", "info", "security", "securityDefinitions"} {
			compareParts(t, path+" "+part, partOf(got, part), partOf(want, part))
		}
	}
}

// undescribed are the properties of which Kubernetes' own documents say nothing, by definition.
var undescribed = map[string]string{
	"api.certificates.v1.CertificateSigningRequest":                           "metadata",
	"api.certificates.v1.CertificateSigningRequestList":                       "metadata",
	"apimachinery.pkg.apis.meta.v1.WatchEvent":                                "type",
	"apimachinery.pkg.version.Info":                                           "buildDate compiler gitCommit gitTreeState gitVersion goVersion platform",
	"apiextensions-apiserver.pkg.apis.apiextensions.v1.ExternalDocumentation": "description url",
	"apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps": "$ref $schema additionalItems additionalProperties allOf anyOf definitions dependencies " +
		"description enum example exclusiveMaximum exclusiveMinimum externalDocs id items maxItems maxLength maxProperties maximum minItems minLength minProperties " +
		"minimum multipleOf not nullable oneOf pattern patternProperties properties required title type uniqueItems",
}

// described holds every property of every definition of a document to a description. Those of definitions that were made here
// are their makers' to describe.
func described(t *testing.T, path string, doc map[string]any) {
	t.Helper()
	schemas, _ := partOf(doc, "components/schemas").(map[string]any)
	if schemas == nil {
		schemas, _ = doc["definitions"].(map[string]any)
	}
	for name, s := range schemas {
		if !strings.HasPrefix(name, "io.k8s.") {
			continue
		}
		properties, _ := s.(map[string]any)["properties"].(map[string]any)
		for property, p := range properties {
			text, _ := p.(map[string]any)["description"].(string)
			if without := strings.Fields(undescribed[strings.TrimPrefix(name, "io.k8s.")]); (text == "") != slices.Contains(without, property) {
				t.Errorf("%s: %s of %s is described by %q", path, property, name, text)
			}
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
