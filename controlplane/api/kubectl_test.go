package api_test

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/kubectltest"
)

//go:embed testdata/kubectl
var transcripts embed.FS

// TestKubectl plays what needs no controller and no node with the oldest and newest kubectl, each transcript on a
// server of its own. What needs running pods is in acctest/kubectl.
func TestKubectl(t *testing.T) {
	files, err := transcripts.ReadDir("testdata/kubectl")
	if err != nil {
		t.Fatal(err)
	}
	for version, path := range kubectltest.Binaries(t) {
		for _, f := range files {
			t.Run(strings.TrimSuffix(f.Name(), ".txt")+"/"+version, func(t *testing.T) {
				t.Parallel()
				script, err := transcripts.ReadFile("testdata/kubectl/" + f.Name())
				if err != nil {
					t.Fatal(err)
				}
				e := apitest.Start(t, apitest.Options{})
				if version == "1.27" {
					makeOpenAPI(t, e)
				}
				kubectltest.Session{Kubectl: path, Kubeconfig: e.Kubeconfig(), Vars: map[string]string{"VERSION": version}}.Play(t, script)
			})
		}
	}
}

// makeOpenAPI has the server make its document of version 2, which it does for the first who asks: kubectl 1.27 waits 32 s for it,
// too short for the race detector beside other tests. Later ones ask for small parts.
func makeOpenAPI(t *testing.T, e *apitest.Env) {
	t.Helper()
	code, _, _ := do(t, e.HTTP(), "GET", e.Address+"/openapi/v2", "", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "")
	if code != 200 {
		t.Fatalf("/openapi/v2 answers %d", code)
	}
}

// TestEveryKindIsDescribed holds explain, describe, apply and diff to every kind that is served.
func TestEveryKindIsDescribed(t *testing.T) {
	e := apitest.Start(t, apitest.Options{NoAdmission: true})
	var plurals []string
	names := map[string]string{} // by plural
	var manifest strings.Builder
	for _, k := range kind.Builtin().Kinds() {
		sample, ok := samples[k.Plural]
		if !ok || names[k.Plural] != "" {
			continue // TestEveryKind complains
		}
		name := sampleOf(k, "described-"+k.Plural)
		names[k.Plural] = name
		plurals = append(plurals, k.Plural)
		data, err := yaml.Marshal(object(t, k, name, sample).Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&manifest, "---\n%s", data)
	}
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(manifest.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	binaries := kubectltest.Binaries(t)
	var versions []string
	for version := range binaries {
		versions = append(versions, version)
	}
	slices.Sort(versions)
	kubeconfig, home := e.Kubeconfig(), t.TempDir()
	makeOpenAPI(t, e)
	kubectl(t, binaries[versions[0]], kubeconfig, home, "apply", "-f", file)
	kubectl(t, binaries[versions[0]], kubeconfig, home, "wait", "--for=condition=Established", "crd", "--all")
	all := []string{"describe"} // at once: most of the time goes by before the first is described
	for _, plural := range plurals {
		all = append(all, plural+"/"+names[plural])
	}
	var g errgroup.Group
	g.SetLimit(4)
	for _, version := range versions {
		g.Go(func() error {
			checkDescribed(t, version, kubectl(t, binaries[version], kubeconfig, home, all...), names)
			return nil
		})
		g.Go(func() error {
			nothingDiffers(t, version, kubectl(t, binaries[version], kubeconfig, home, "diff", "-f", file))
			return nil
		})
	}
	for _, version := range versions {
		for _, plural := range plurals {
			g.Go(func() error {
				out := kubectl(t, binaries[version], kubeconfig, home, "explain", plural, "--recursive")
				if !strings.Contains(out, "KIND:") || !strings.Contains(out, "metadata") || !strings.Contains(out, "creationTimestamp") {
					t.Errorf("explain %s with kubectl %s: %s", plural, version, out)
				}
				return nil
			})
		}
	}
	_ = g.Wait()
	// Until here kubectl sent what differs, which is nothing. Now the server says what would come of all.
	version := versions[len(versions)-1]
	kubectl(t, binaries[version], kubeconfig, home, "apply", "--server-side", "--force-conflicts", "-f", file)
	nothingDiffers(t, version, kubectl(t, binaries[version], kubeconfig, home, "diff", "--server-side", "-f", file))
}

func nothingDiffers(t *testing.T, version, out string) {
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Warning: ") { // of what is deprecated
			t.Errorf("kubectl %s prints a difference to what was applied: %s", version, line)
		}
	}
}

func kubectl(t *testing.T, path, kubeconfig, home string, args ...string) string {
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
