package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	discoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// discovered returns the resources of example.com/v1, each followed by its short names, as plain discovery and aggregated
// discovery have them, and the tag of the latter.
func discovered(t *testing.T, e *apitest.Env) (plain, aggregated, tag string) {
	t.Helper()
	var in, inAll []string
	add := func(to *[]string, resource string, shortNames []string) {
		if !strings.Contains(resource, "/") {
			*to = append(*to, strings.Join(append([]string{resource}, shortNames...), " "))
		}
	}
	var list metav1.APIResourceList
	code, _, data := do(t, e.HTTP(), "GET", e.Address+"/apis/example.com/v1", "", "", "")
	if err := json.Unmarshal(data, &list); err != nil && code != 404 {
		t.Fatal(err)
	}
	for _, r := range list.APIResources {
		add(&in, r.Name, r.ShortNames)
	}
	var all discoveryv2.APIGroupDiscoveryList
	_, h, data := do(t, e.HTTP(), "GET", e.Address+"/apis", "", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "")
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, g := range all.Items {
		for _, v := range g.Versions {
			for _, r := range v.Resources {
				if g.Name == "example.com" && v.Version == "v1" {
					add(&inAll, r.Resource, r.ShortNames)
				}
			}
		}
	}
	return strings.Join(in, ", "), strings.Join(inAll, ", "), h.Get("ETag")
}

// TestDefinitionsAreDiscovered finds a kind by its names as soon as its definition says that it has them, and by no other.
func TestDefinitionsAreDiscovered(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c := dynamicOf(t, e)
	_, _, before := discovered(t, e)
	look := func(when, want string, changed bool) {
		t.Helper()
		plain, aggregated, tag := discovered(t, e)
		if plain != want || aggregated != want || (tag != before) != changed {
			t.Errorf("%s: found %q, aggregated %q, want %q; tag %s after %s", when, plain, aggregated, want, tag, before)
		}
		before = tag
	}
	rename := func(name, shortNames string, ok func(*apiextensionsv1.CustomResourceDefinition) bool) {
		t.Helper()
		awaitDefinition(t, c, name, func() error {
			_, err := c.Resource(crds).Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"names":{"shortNames":`+shortNames+`}}}`), metav1.PatchOptions{})
			return err
		}, ok)
	}

	define(t, c, widgetDefinition)
	look("once established", "widgets wd", true)
	if _, _, data := do(t, e.HTTP(), "GET", e.Address+"/openapi/v3/apis/example.com/v1", "", "", ""); !strings.Contains(string(data), `"com.example.v1.Widget"`) {
		t.Errorf("its schema once it is established: %.200s", data)
	}
	rename("widgets.example.com", `["wd","wt"]`, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return slices.Contains(crd.Status.AcceptedNames.ShortNames, "wt")
	})
	look("with another short name", "widgets wd wt", true)

	define(t, c, strings.NewReplacer("widgets", "wheels", "Widget", "Wheel", "[wd]", "[wh]").Replace(widgetDefinition))
	look("with another kind", "wheels wh, widgets wd wt", true)
	rename("wheels.example.com", `["wh","wt"]`, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return apihelpers.IsCRDConditionFalse(crd, apiextensionsv1.NamesAccepted)
	})
	look("with a short name that is another's", "wheels wh, widgets wd wt", false)
	rename("widgets.example.com", `["wd"]`, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return !slices.Contains(crd.Status.AcceptedNames.ShortNames, "wt")
	})
	awaitDefinition(t, c, "wheels.example.com", func() error { return nil }, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.NamesAccepted)
	})
	look("with one that is free now", "wheels wh wt, widgets wd", true)
}
