package api_test

import (
	"embed"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

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
				// The document is made for the first who asks, and kubectl 1.27 waits 32 s for it: too short for the race detector
				// beside other tests. Later ones ask for small parts.
				if version == "1.27" {
					code, _, _ := do(t, e.HTTP(), "GET", e.Address+"/openapi/v2", "", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "")
					if code != 200 {
						t.Fatalf("/openapi/v2 answers %d", code)
					}
				}
				kubectltest.Session{Kubectl: path, Kubeconfig: e.Kubeconfig(), Vars: map[string]string{"VERSION": version}}.Play(t, script)
			})
		}
	}
}

// TestEveryKindIsDescribed holds explain and describe to every kind that is served.
func TestEveryKindIsDescribed(t *testing.T) {
	e := apitest.Start(t, apitest.Options{NoAdmission: true})
	c, err := dynamic.NewForConfig(e.Admin())
	if err != nil {
		t.Fatal(err)
	}
	var plurals []string
	names := map[string]string{} // by plural
	for _, k := range kind.Builtin().Kinds() {
		sample, ok := samples[k.Plural]
		if !ok || names[k.Plural] != "" {
			continue // TestEveryKind complains
		}
		name := sampleOf(k, "described-"+k.Plural)
		names[k.Plural] = name
		plurals = append(plurals, k.Plural)
		client := dynamic.ResourceInterface(c.Resource(k.GroupVersionResource()))
		if k.Namespaced {
			client = c.Resource(k.GroupVersionResource()).Namespace("default")
		}
		if _, err := client.Create(t.Context(), object(t, k, name, sample), metav1.CreateOptions{}); err != nil {
			t.Errorf("cannot create one of %s: %v", k.Plural, err)
		}
	}
	binaries := kubectltest.Binaries(t)
	var versions []string
	for version := range binaries {
		versions = append(versions, version)
	}
	slices.Sort(versions)
	kubeconfig, home := e.Kubeconfig(), t.TempDir()
	all := []string{"describe"} // at once: most of the time goes by before the first is described
	for _, plural := range plurals {
		all = append(all, plural+"/"+names[plural])
	}
	var g errgroup.Group
	g.SetLimit(4)
	for _, version := range versions {
		g.Go(func() error {
			out := kubectl(t, binaries[version], kubeconfig, home, all...)
			for plural, name := range names {
				if !regexp.MustCompile(`(?m)^Name: +` + regexp.QuoteMeta(name) + `$`).MatchString(out) {
					t.Errorf("kubectl %s does not describe %s/%s", version, plural, name)
				}
			}
			return nil
		})
	}
	for i, plural := range plurals {
		version := versions[i%len(versions)] // each reads schemas in its way, but all kinds' in the same
		g.Go(func() error {
			out := kubectl(t, binaries[version], kubeconfig, home, "explain", plural, "--recursive")
			if !strings.Contains(out, "KIND:") || !strings.Contains(out, "metadata") || !strings.Contains(out, "creationTimestamp") {
				t.Errorf("explain %s with kubectl %s: %s", plural, version, out)
			}
			return nil
		})
	}
	_ = g.Wait()
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
