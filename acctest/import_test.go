package acctest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testImport imports everything by its id into an empty state; the plan is empty afterwards. From there on the cluster is of
// this state: what it changes on a host makes the host its own.
func (s *standing) testImport(t *testing.T) {
	id, err := s.Output(t.Context(), "id")
	if err != nil {
		t.Fatal(err)
	}
	image, err := s.Terraform(t.Context(), "state", "show", "-no-color", "fairlead_image.web")
	if err != nil {
		t.Fatal(err)
	}
	_, image, _ = strings.Cut(image, "reference = ")
	image, _, _ = strings.Cut(strings.Trim(strings.TrimSpace(image), `"`), `"`)
	ids := map[string]string{
		"fairlead_cluster.main":     id,
		`fairlead_node.worker["a"]`: id + "/" + s.a.Name,
		`fairlead_node.worker["b"]`: id + "/" + s.b.Name + "@" + s.b.Address.String(),
		"fairlead_image.web":        id + "/" + image,
		"fairlead_namespace.shop":   id + "/shop",
		"fairlead_config_map.web":   id + "/shop/web",
		"fairlead_secret.web":       id + "/shop/web",
		"fairlead_deployment.web":   id + "/shop/web",
		"fairlead_service.web":      id + "/shop/web",
	}
	var imports strings.Builder
	for to, id := range ids {
		fmt.Fprintf(&imports, "import {\n  to = %s\n  id = %q\n}\n", to, id)
	}
	w := workspace(t, "cluster.tf", s.vars)
	if err := w.Write("imports.tf", imports.String()); err != nil {
		t.Fatal(err)
	}
	// What a host was installed with is in its state at once, where the provider knows the host's key: that of the resource's
	// configuration is not shown to an import.
	known, vars := "", sshVar()
	for _, m := range s.machines() {
		known += m.Address.String() + " " + m.HostKey + "\n"
	}
	vars["known_hosts_file"] = filepath.Join(w.Dir, "known_hosts")
	if err := errors.Join(w.Write("known_hosts", known), w.Set(map[string]any{"ssh": vars})); err != nil {
		t.Fatal(err)
	}
	_, out, err := w.Plan(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Only Terraform itself knows timeouts, and where an image is from.
	for to := range ids {
		if to != "fairlead_deployment.web" && to != "fairlead_image.web" {
			says(t, out, to+" will be imported")
		}
	}
	says(t, out, fmt.Sprintf("Plan: %d to import, 0 to add, 2 to change, 0 to destroy.", len(ids)))
	says(t, apply(t, w), fmt.Sprintf("Apply complete! Resources: %d imported, 0 added, 2 changed, 0 destroyed.", len(ids)))
	if err := os.Remove(filepath.Join(w.Dir, "imports.tf")); err != nil {
		t.Fatal(err)
	}
	planEmpty(t, w)
	s.Workspace = w
}
