package kubectl

import (
	"embed"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/single"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/kubectltest"
)

//go:embed testdata
var transcripts embed.FS

// alone are the transcripts that take the node away from everybody; after the last one it does not come back soon.
var (
	alone = []string{"drain.txt"}
	last  = "pressure.txt"
)

// TestKubectl plays each transcript with the oldest and newest kubectl, in a namespace of its own; the last one only with
// the newest.
func TestKubectl(t *testing.T) {
	entries, err := transcripts.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	binaries := kubectltest.Binaries(t)
	lock := filepath.Join(t.TempDir(), "lock")
	t.Run("together", func(t *testing.T) {
		for _, e := range entries {
			if slices.Contains(alone, e.Name()) || e.Name() == last {
				continue
			}
			for _, version := range slices.Sorted(maps.Keys(binaries)) {
				t.Run(strings.TrimSuffix(e.Name(), ".txt")+"/"+version, func(t *testing.T) {
					t.Parallel()
					play(t, e.Name(), version, binaries[version], lock)
				})
			}
		}
	})
	for _, name := range alone {
		for _, version := range slices.Sorted(maps.Keys(binaries)) {
			t.Run(strings.TrimSuffix(name, ".txt")+"/"+version, func(t *testing.T) { play(t, name, version, binaries[version], lock) })
		}
	}
	newest := slices.Max(slices.Collect(maps.Keys(binaries)))
	t.Run(strings.TrimSuffix(last, ".txt"), func(t *testing.T) { play(t, last, newest, binaries[newest], lock) })
}

func play(t *testing.T, name, version, path, lock string) {
	t.Helper()
	script, err := transcripts.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	ns := strings.TrimSuffix(name, ".txt") + "-" + strings.ReplaceAll(version, ".", "-")
	ctx := t.Context()
	if _, err := cluster.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := single.Until(ctx, "namespace has its service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	kubectltest.Session{Kubectl: path, Kubeconfig: kubeconfig(t, ns), Vars: map[string]string{
		"VERSION": version, "NS": ns, "NODE": cluster.Node, "ADDRESS": cluster.Address, "IMAGE": single.ToolsImage, "HELLO": helloImage, "LOCK": lock,
	}}.Play(t, script)
}

// kubeconfig is the administrator's with a namespace.
func kubeconfig(t *testing.T, namespace string) string {
	t.Helper()
	c, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	current := *c.Contexts[c.CurrentContext]
	current.Namespace = namespace
	c.Contexts = map[string]*clientcmdapi.Context{c.CurrentContext: &current}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}
