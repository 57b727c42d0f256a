package acctest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// testFromZero takes three bare machines to a service that answers, and prints how long that took.
func (s *standing) testFromZero(t *testing.T) {
	start := time.Now()
	out := apply(t, s.Workspace)
	url, err := s.Output(t.Context(), "url")
	if err != nil {
		t.Fatal(err)
	}
	s.url = url
	eventually(t, 10*time.Second, "the page", func(ctx context.Context) error {
		page, err := get(ctx, http.DefaultClient, s.url)
		if err == nil && !strings.HasPrefix(page, "Hello from web-") {
			err = fmt.Errorf("the page is %q", page)
		}
		return err
	})
	t.Logf("apply from zero to 200: %.1f s", time.Since(start).Seconds())
	says(t, out, "Apply complete! Resources: 9 added, 0 changed, 0 destroyed.")
	planEmpty(t, s.Workspace)
	state, err := os.ReadFile(filepath.Join(s.Dir, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cr3t", "PRIVATE KEY", "fairlead-credential"} {
		if bytes.Contains(state, []byte(secret)) {
			t.Errorf("the state has a secret in it: %s", secret)
		}
	}
}

// testReach wants every pod to reach every other by its address, and the service by its name, its address, and
// the node port of every node.
func (s *standing) testReach(t *testing.T) {
	pods := awaitPods(t, s.clients, 3, time.Minute)
	nodes := map[string]bool{}
	for _, p := range pods {
		nodes[p.Spec.NodeName] = true
	}
	if len(nodes) != 3 {
		t.Errorf("three pods are not spread over three nodes: %v", nodes)
	}
	service, err := s.clients.CoreV1().Services(namespace).Get(t.Context(), web, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{"http://web", "http://web.shop.svc.cluster.local", "http://" + service.Spec.ClusterIP}
	for _, m := range s.machines() {
		urls = append(urls, fmt.Sprintf("http://%s:%d", m.Address, service.Spec.Ports[0].NodePort))
	}
	for _, p := range pods {
		urls = append(urls, "http://"+p.Status.PodIP+":8080")
	}
	for _, p := range pods {
		out, err := s.exec(t, &p, append([]string{"/bin/fetch"}, urls...)...)
		if err != nil {
			t.Errorf("from pod %s on %s: %v", p.Name, p.Spec.NodeName, err)
			continue
		}
		for _, url := range urls {
			if !strings.Contains("\n"+out, "\n"+url+" Hello from web-") {
				t.Errorf("from pod %s on %s, %s does not answer:\n%s", p.Name, p.Spec.NodeName, url, out)
			}
		}
	}
}

// exec runs a command in a pod's first container.
func (s *standing) exec(t *testing.T, pod *corev1.Pod, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	url := s.clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: pod.Spec.Containers[0].Name, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewSPDYExecutor(s.config, http.MethodPost, url)
	if err != nil {
		return "", err
	}
	var out, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &stderr}); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out.String(), nil
}

// testDrift changes what Terraform owns, which is shown and mended, and what it does not, which is left alone.
func (s *standing) testDrift(t *testing.T) {
	deployments := s.clients.AppsV1().Deployments(namespace)
	patch := func(object any) {
		t.Helper()
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := deployments.Patch(t.Context(), web, types.MergePatchType, data, metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
			t.Fatal(err)
		}
	}
	patch(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{"example.com/note": "kept"}},
		"spec":     map[string]any{"revisionHistoryLimit": 3},
	})
	planEmpty(t, s.Workspace)

	patch(map[string]any{"spec": map[string]any{"replicas": 1}})
	nodes := s.clients.CoreV1().Nodes()
	for _, name := range []string{s.control.Name, s.a.Name} {
		_, err := nodes.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"zone":"elsewhere","rack":"7"}}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	changes, out, err := s.Plan(t.Context())
	if err != nil || !changes {
		t.Fatalf("an owned field that changed is not shown: %v\n%s", err, out)
	}
	says(t, out, "fairlead_deployment.web will be updated in-place", "~ replicas = 1 -> 3", "fairlead_cluster.main will be updated in-place", `"elsewhere" -> "control"`,
		`fairlead_node.worker["a"] will be updated in-place`, `"elsewhere" -> "a"`, "Plan: 0 to add, 3 to change, 0 to destroy.")
	apply(t, s.Workspace)
	for name, zone := range map[string]string{s.control.Name: "control", s.a.Name: "a"} {
		node, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if node.Labels["zone"] != zone || node.Labels["rack"] != "7" {
			t.Errorf("node %s has the labels %v", name, node.Labels)
		}
	}
	awaitPods(t, s.clients, 3, time.Minute)
	planEmpty(t, s.Workspace)
	d, err := deployments.Get(t.Context(), web, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Annotations["example.com/note"] != "kept" || d.Spec.RevisionHistoryLimit == nil || *d.Spec.RevisionHistoryLimit != 3 {
		t.Errorf("what Terraform does not own was changed: %v, %v", d.Annotations, d.Spec.RevisionHistoryLimit)
	}
}

func (s *standing) testScale(t *testing.T) {
	for _, n := range []int{6, 3} {
		if err := s.Set(map[string]any{"replicas": n}); err != nil {
			t.Fatal(err)
		}
		apply(t, s.Workspace)
		awaitPods(t, s.clients, n, time.Minute)
	}
}

// testRollingUpdate replaces all pods while requests go on; none may fail.
func (s *standing) testRollingUpdate(t *testing.T) {
	l := startLoad(t, s.urls()...)
	l.more(t, 50)
	if err := s.Set(map[string]any{"greeting": "Goodbye"}); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	l.more(t, 50)
	l.end(t)
	if l.seen("Hello") == 0 || l.seen("Goodbye") == 0 {
		t.Errorf("the load did not see both versions: %v", l.answers)
	}
	planEmpty(t, s.Workspace)
}

// crashing is a deployment whose container ends by itself, with something in its log.
const crashing = `resource "fairlead_deployment" "crash" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "crash", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    replicas          = 1
    min_ready_seconds = 5
    template = {
      metadata = { labels = { app = "crash" } }
      spec     = { containers = [{ name = "main", image = fairlead_image.web.reference, command = ["/bin/fetch", "http://absent.invalid/"] }] }
    }
  }
}
`

// testBadImage rolls out an image that is nowhere, and a container that crashes. The apply says why each fails, and soon; the
// service goes on; the next apply, with a good image, goes on from there.
func (s *standing) testBadImage(t *testing.T) {
	l := startLoad(t, s.url)
	if err := errors.Join(s.Set(map[string]any{"image": "localhost/absent:1"}), s.Write("crash.tf", crashing)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := s.Apply(t.Context())
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("the apply of a bad image ended with %v", err)
	}
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("the failure took %v to show", took)
	}
	says(t, failed.Output, "with fairlead_deployment.web", "Pod: shop/web-", "Container: web, image localhost/absent:1", `failed to resolve reference "localhost/absent:1"`,
		`Warning Failed: Failed to pull image "localhost/absent:1"`)
	says(t, failed.Output, "with fairlead_deployment.crash", "Pod: shop/crash-", "Container: main, image localhost/web:", "Exit code: 1, Error", "Restarts: 3",
		"Last lines of its log: http://absent.invalid/ error: ", "no such host", "Warning BackOff: Back-off restarting failed container main")
	if strings.Contains(failed.Output, "s3cr3t") {
		t.Error("the diagnostic shows a secret")
	}
	l.end(t)
	if err := errors.Join(s.Set(map[string]any{"image": nil}), os.Remove(filepath.Join(s.Dir, "crash.tf"))); err != nil {
		t.Fatal(err)
	}
	apply(t, s.Workspace)
	awaitPods(t, s.clients, 3, time.Minute)
	planEmpty(t, s.Workspace)
}
