package api_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/kubectltest"
)

// TestKubectlOnCustomResources runs what kubectl does with definitions and what they define.
func TestKubectlOnCustomResources(t *testing.T) {
	for version, path := range kubectltest.Binaries(t) {
		t.Run(version, func(t *testing.T) {
			e := apitest.Start(t, apitest.Options{})
			dir, kubeconfig := t.TempDir(), e.Kubeconfig()
			file := func(name, text string) string {
				p := filepath.Join(dir, name)
				if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return p
			}
			definition := file("crd.yaml", widgetDefinition)
			widget := file("widget.yaml", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {color: red}\n")
			wrong := file("wrong.yaml", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {color: red, replicsa: 1}\n")
			for _, step := range []struct{ args, want string }{
				{"apply -f " + definition, "customresourcedefinition.apiextensions.k8s.io/widgets.example.com created"},
				{"wait --for=condition=Established crd/widgets.example.com --timeout=20s", "condition met"},
				{"get crd", "widgets.example.com"},
				{"describe crd widgets.example.com", "no conflicts found"},
				{"api-resources --api-group=example.com", "wd"},
				{"explain widget.spec.color", "The color that it has."},
				{"explain widgets --recursive", "replicas"},
				{"explain widget.metadata.labels", "Map of string keys and values"},
				{"apply -f " + widget, "widget.example.com/w created"},
				{"apply -f " + widget, "widget.example.com/w unchanged"},
				{"diff -f " + widget, ""},
				{"apply --server-side --force-conflicts -f " + widget, "serverside-applied"},
				{"apply --validate=strict -f " + wrong, `!replicsa`},
				{"get wd", "COLOR"},
				{"get widgets.v1alpha1.example.com w -o yaml", "example.com/v1alpha1"},
				{"get all", "widget.example.com/w"},
				{"scale widget w --replicas=3", "scaled"},
				{"get widget w -o jsonpath={.spec.replicas}", "3"},
				{"label widget w a=b", "labeled"},
				{"patch widget w --type=merge -p {\"spec\":{\"replicas\":4}}", "patched"},
				{"delete -f " + definition, "deleted"},
				// kubectl still has the discovery of a moment ago
				{"get widgets", "!the server could not find the requested resource"},
			} {
				want, fails := strings.CutPrefix(step.want, "!")
				cmd := exec.CommandContext(t.Context(), path, strings.Fields(step.args)...)
				cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
				out, err := cmd.CombinedOutput()
				if (err != nil) != fails || !strings.Contains(string(out), want) {
					t.Errorf("kubectl %s: %v\n%s", step.args, err, out)
				}
			}
		})
	}
}
