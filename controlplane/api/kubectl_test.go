package api_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

const manifest = `apiVersion: v1
kind: ConfigMap
metadata: {name: applied, labels: {set: one}}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {set: one}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: "registry.example/a:1", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {set: one}}
spec: {selector: {app: web}, ports: [{port: 80}]}
`

// TestKubectl runs commands that need no controller with the oldest and newest kubectl.
func TestKubectl(t *testing.T) {
	for version, path := range kubectls(t) {
		t.Run(version, func(t *testing.T) {
			e := apitest.Start(t, apitest.Options{})
			dir := t.TempDir()
			file := filepath.Join(dir, "manifest.yaml")
			if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			bad := filepath.Join(dir, "bad.yaml")
			if err := os.WriteFile(bad, []byte(strings.Replace(manifest, "data: {a", "dta: {}\ndata: {a", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			kubeconfig := e.Kubeconfig()
			for _, step := range []struct{ args, want string }{
				{"version", "v1.37.2+fairlead"},
				{"get ns", "kube-system"},
				{"api-resources --verbs=list -o name", "deployments.apps"},
				{"api-versions", "rbac.authorization.k8s.io/v1"},
				{"explain pod.spec.containers.livenessProbe", "Periodic probe of container liveness"},
				{"explain deployment --recursive", "maxSurge"},
				{"apply -f " + file, "deployment.apps/web created"},
				{"apply -f " + file, "deployment.apps/web unchanged"},
				{"diff -f " + file, ""},
				{"apply -f " + bad, `!unknown field "dta"`},
				{"apply --server-side --force-conflicts -f " + file, "deployment.apps/web serverside-applied"},
				{"get deploy,svc,cm -l set=one", "deployment.apps/web"},
				{"get deploy web -o wide", "registry.example/a:1"},
				{"get cm applied -o yaml --show-managed-fields", "manager: kubectl"},
				{"get cm applied -o jsonpath={.data.a}", "1"},
				{"get cm --chunk-size=1 -o name", "configmap/applied"},
				{"scale deploy web --replicas=3", "scaled"},
				{"set image deploy/web c=registry.example/a:2", "image updated"},
				{"set env deploy/web A=b", "env updated"},
				{"patch deploy web -p {\"spec\":{\"paused\":true}}", "patched"},
				{"label cm applied x=y", "labeled"},
				{"annotate cm applied x=y", "annotate"},
				{"run nginx --image=registry.example/n:1", "pod/nginx created"},
				{"get pods -A", "nginx"},
				{"get pods --field-selector=metadata.name=nginx --sort-by=.metadata.name", "Pending"},
				{"describe pod nginx", "registry.example/n:1"},
				{"expose deployment web --name=web2 --type=NodePort --port=8080", "service/web2 exposed"},
				{"create configmap dry --from-literal=a=b --dry-run=server", "created (server dry run)"},
				{"get cm dry", "!NotFound"},
				{"create role r --verb=get --resource=pods", "created"},
				{"create secret generic s --from-literal=a=b", "created"},
				{"create token default", "."},
				{"auth can-i create pods", "yes"},
				{"auth can-i create pods --as=jane", "!no"},
				{"auth can-i --list", "*.*"},
				{"auth whoami", "system:masters"},
				{"wait --for=jsonpath={.data.a}=1 cm/applied --timeout=10s", "condition met"},
				{"rollout history deploy/web", ""},
				{"delete pod nginx", "deleted"},
				{"delete -f " + file, "deleted"},
				{"get deploy", "No resources found"},
			} {
				cmd := exec.CommandContext(t.Context(), path, strings.Fields(step.args)...)
				cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
				out, err := cmd.CombinedOutput()
				want, fails := strings.CutPrefix(step.want, "!")
				if (err != nil) != fails || !strings.Contains(string(out), want) {
					t.Errorf("kubectl %s: %v\n%s", step.args, err, out)
				}
			}
		})
	}
}

// TestExplainEveryKind holds the published schema to naming and documenting every kind.
func TestExplainEveryKind(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	kubeconfig, dir := e.Kubeconfig(), t.TempDir()
	path := ""
	for _, p := range kubectls(t) {
		path = max(path, p)
	}
	for name := range samples {
		out, _ := run(t, path, kubeconfig, dir, "get", name, "--all-namespaces")
		if strings.Contains(out, "doesn't have a resource type") {
			continue // a sample of a kind that is not served yet
		}
		if out, err := run(t, path, kubeconfig, dir, "explain", name); err != nil || !strings.Contains(out, "KIND:") || !strings.Contains(out, "metadata") {
			t.Errorf("explain %s: %v\n%s", name, err, out)
		}
	}
}

func run(t *testing.T, path, kubeconfig, home string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}
