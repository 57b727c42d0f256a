package api_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestColumns holds the columns of every kind's table to kube-apiserver's own: `go run ./internal/tools/record -columns` writes
// them down.
func TestColumns(t *testing.T) {
	data, err := os.ReadFile("testdata/columns.json")
	if err != nil {
		t.Fatal(err)
	}
	recorded := map[string][]metav1.TableColumnDefinition{}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	e := apitest.Start(t, apitest.Options{NoAdmission: true})
	c := e.HTTP()
	for _, k := range kind.Builtin().Kinds() {
		gvr := k.GroupVersionResource()
		name, root := gvr.GroupVersion().String()+"/"+gvr.Resource, "/apis/"
		if gvr.Group == "" {
			root = "/api/"
		}
		want, ok := recorded[name]
		if !ok {
			t.Errorf("%s was not recorded", name)
			continue
		}
		code, _, body := do(t, c, http.MethodGet, e.Address+root+name+"?limit=1", "", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
		var table metav1.Table
		if err := json.Unmarshal(body, &table); err != nil || code != http.StatusOK {
			t.Errorf("%s: %d, %v", name, code, err)
			continue
		}
		if len(table.ColumnDefinitions) != len(want) {
			t.Errorf("%s has the columns %s, want %s", name, headings(table.ColumnDefinitions), headings(want))
			continue
		}
		for i, got := range table.ColumnDefinitions {
			if column := k.Kind + " " + got.Name; slices.Contains(otherwiseDescribed, column) && got.Description != "" {
				want[i].Description = got.Description
			}
			if got != want[i] {
				t.Errorf("%s: column %+v, want %+v", name, got, want[i])
			}
		}
	}
}

// otherwiseDescribed are columns for which kube-apiserver has a sentence of its own, or none; here they are described as their fields.
var otherwiseDescribed = []string{
	"CSINode Drivers", "Ingress Class", "IngressClass Controller", "IngressClass Parameters", "PodDisruptionBudget Allowed Disruptions",
	"PodDisruptionBudget Max Unavailable", "PodDisruptionBudget Min Available", "RuntimeClass Handler",
}

func headings(columns []metav1.TableColumnDefinition) string {
	var all []string
	for _, c := range columns {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}
