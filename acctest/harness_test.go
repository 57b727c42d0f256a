package acctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// Where testdata/cluster.tf puts its objects.
const (
	namespace = "shop"
	web       = "web"
)

// eventually calls ok until it returns nil, and fails the test with its last error when that takes too long.
func eventually(t *testing.T, within time.Duration, what string, ok func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}

// workspace makes a workspace with one of testdata's configurations. Its state is lost with the machines at the
// end of the run.
func workspace(t *testing.T, configuration string, vars map[string]any) *Workspace {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "workspace-")
	if err != nil {
		t.Fatal(err)
	}
	w := &Workspace{Dir: dir, CLIConfig: cliConfig}
	content, err := configurations.ReadFile("testdata/" + configuration)
	if err == nil {
		err = w.Write("main.tf", string(content))
	}
	if err == nil {
		err = w.Set(vars)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// apply applies and wants it to go well.
func apply(t *testing.T, w *Workspace, args ...string) string {
	t.Helper()
	out, err := w.Apply(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused applies, wants a diagnostic that says all of want, and returns everything that was printed.
func refused(t *testing.T, w *Workspace, want ...string) string {
	t.Helper()
	out, err := w.Apply(t.Context())
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("the apply was not refused: %v\n%s", err, out)
	}
	says(t, out, want...)
	return out
}

// says wants all of want in an output, however Terraform broke its lines and framed them.
func says(t *testing.T, out string, want ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(out)), " ")
	for _, s := range want {
		if !strings.Contains(flat, s) {
			t.Errorf("the output does not say %q:\n%s", s, out)
		}
	}
}

// planEmpty wants nothing to do.
func planEmpty(t *testing.T, w *Workspace) {
	t.Helper()
	changes, out, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if changes {
		t.Fatalf("the plan is not empty:\n%s", out)
	}
}

// inState wants exactly these addresses in state.
func inState(t *testing.T, w *Workspace, want ...string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(w.Dir, "terraform.tfstate")); len(want) == 0 && errors.Is(err, os.ErrNotExist) {
		return
	}
	got, err := w.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("state has %q, want %q", got, want)
	}
}

// hostVar is a machine as configurations take it.
func hostVar(m *machine.Machine) map[string]any {
	return map[string]any{"address": m.Address.String(), "host_key": m.HostKey}
}

func sshVar() map[string]any {
	return map[string]any{"user": "root", "private_key_file": fleet.KeyFile}
}

// command runs a command as root on a machine and wants it to go well.
func command(t *testing.T, m *machine.Machine, line string) string {
	t.Helper()
	out, err := m.Run(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// client is an API client with the control-plane host's own administrator's credential.
func client(t *testing.T, controlPlane *machine.Machine) (kubernetes.Interface, *rest.Config) {
	t.Helper()
	kubeconfig := command(t, controlPlane, "cat /var/lib/fairlead/server/admin.kubeconfig")
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	config.Host = fmt.Sprintf("https://%s:6443", controlPlane.Address)
	config.Timeout = 10 * time.Second
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients, config
}

// webPods returns the web server's pods that are not on their way out.
func webPods(ctx context.Context, c kubernetes.Interface) ([]corev1.Pod, error) {
	list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + web})
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods = append(pods, p)
		}
	}
	return pods, nil
}

// ready says why a pod is not Ready, if it is not.
func ready(p *corev1.Pod) error {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("pod %s on node %s is not ready: %+v", p.Name, p.Spec.NodeName, p.Status.ContainerStatuses)
}

// awaitPods waits until n pods of the web server are ready, and no others are there, and returns them.
func awaitPods(t *testing.T, c kubernetes.Interface, n int, within time.Duration) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, within, fmt.Sprintf("%d pods ready", n), func(ctx context.Context) (err error) {
		if pods, err = webPods(ctx, c); err != nil {
			return err
		}
		if len(pods) != n {
			return fmt.Errorf("there are %d pods", len(pods))
		}
		for i := range pods {
			if err := ready(&pods[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return pods
}

// awaitNodes waits until the nodes are Ready.
func awaitNodes(t *testing.T, c kubernetes.Interface, within time.Duration, names ...string) {
	t.Helper()
	for _, name := range names {
		eventually(t, within, "node "+name+" ready", func(ctx context.Context) error {
			node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !nodeReady(node) {
				return fmt.Errorf("its conditions are %+v", node.Status.Conditions)
			}
			return nil
		})
	}
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// alone makes a machine a cluster of its own and returns when its page is there.
func alone(t *testing.T, m *machine.Machine) *standing {
	t.Helper()
	s := &standing{control: m, Workspace: workspace(t, "vm.tf", map[string]any{
		"ssh": sshVar(), "image_source": imageFile, "control_plane": hostVar(m),
	})}
	apply(t, s.Workspace)
	var err error
	if s.url, err = s.Output(t.Context(), "url"); err != nil {
		t.Fatal(err)
	}
	awaitPage(t, s.url)
	return s
}
