package acctest

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// vmPatience is what a virtual machine may take for what another machine does in a few seconds: it is emulated, and
// ten to twenty times slower.
const vmPatience = 2 * time.Minute

// TestVirtualMachine is the core of everything on a machine with Debian's own kernel and cgroup v2, whose containerd was
// there before: from there to an answering service, limits, a reboot, and back.
func TestVirtualMachine(t *testing.T) {
	t.Parallel() // beside TestRefused: each waits for machines of its own
	start := time.Now()
	m, err := fleet.StartVM(t.Context(), prefix+"-vm")
	if err != nil {
		t.Fatal(err)
	}
	if kind := command(t, m, "stat -fc %T /sys/fs/cgroup"); kind != "cgroup2fs" {
		t.Fatalf("the machine's cgroups are %s", kind)
	}
	// A service that waits for the network makes this one run when the machine boots, and it then stays active.
	command(t, m, "systemctl start systemd-networkd-wait-online")
	before := listing(t, m)
	elapsed(t, &start, "boot of a virtual machine")
	s := alone(t, m)
	elapsed(t, &start, "apply from zero to 200")
	planEmpty(t, s.Workspace)
	s.clients, s.config = client(t, m)
	pods := awaitPods(t, s.clients, 2, vmPatience)
	for _, p := range pods {
		s.limited(t, &p)
	}
	elapsed(t, &start, "empty plan and limits")

	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	elapsed(t, &start, "reboot")
	s.clients, s.config = client(t, m)
	s.back(t, pods)
	elapsed(t, &start, "pods and service after the reboot")
	planEmpty(t, s.Workspace)

	if _, err := s.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	inState(t, s.Workspace)
	bare(t, m, before, ofContainerd)
	elapsed(t, &start, "destroy")
}

// ofContainerd is what containerd, which was there before, makes for itself when anybody uses it for the first time.
var ofContainerd = regexp.MustCompile(`^file (/run/containerd/(runc|s)|/var/lib/containerd/io\.containerd\.(content\.v1\.content/blobs(/sha256)?|` +
	`grpc\.v1\.introspection(/uuid)?|snapshotter\.v1\.overlayfs/metadata\.db)) [df]$`)

// elapsed logs the time since start and sets start to now.
func elapsed(t *testing.T, start *time.Time, what string) {
	t.Helper()
	t.Logf("%s: %.1f s", what, time.Since(*start).Seconds())
	*start = time.Now()
}

func awaitPage(t *testing.T, url string) {
	t.Helper()
	eventually(t, vmPatience, "the page", func(ctx context.Context) error {
		page, err := get(ctx, http.DefaultClient, url)
		if err == nil && !strings.HasPrefix(page, "Hello from web-") {
			err = fmt.Errorf("the page is %q", page)
		}
		return err
	})
}

// limited wants the pod's limits in its container's cgroup, as they are seen inside.
func (s *standing) limited(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	for file, want := range map[string]string{
		"memory.max": fmt.Sprint(96 << 20),
		"cpu.max":    "150000 100000", // microseconds in a period
	} {
		got, err := s.exec(t, pod, "/bin/busybox", "cat", "/sys/fs/cgroup/"+file)
		if err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%s of pod %s is %q, want %q; %v", file, pod.Name, got, want, err)
		}
	}
}

// back wants the same pods after a reboot, each container started once more, with the limits and the service that
// they had.
func (s *standing) back(t *testing.T, before []corev1.Pod) {
	t.Helper()
	uids := map[string]bool{}
	for _, p := range before {
		uids[string(p.UID)] = true
	}
	eventually(t, vmPatience, "pods after a reboot", func(ctx context.Context) error {
		pods, err := webPods(ctx, s.clients)
		if err != nil {
			return err
		}
		if len(pods) != len(before) {
			return fmt.Errorf("there are %d pods", len(pods))
		}
		for i := range pods {
			p := &pods[i]
			if err := ready(p); err != nil {
				return err
			}
			if n := p.Status.ContainerStatuses[0].RestartCount; !uids[string(p.UID)] || n != 1 {
				return fmt.Errorf("pod %s (new: %t) has been restarted %d times", p.Name, !uids[string(p.UID)], n)
			}
		}
		return nil
	})
	awaitNodes(t, s.clients, vmPatience, s.control.Name)
	for _, p := range awaitPods(t, s.clients, len(before), vmPatience) {
		s.limited(t, &p)
	}
	s.reached(t, &before[0])
	awaitPage(t, s.url)
}

// reached wants the pod to find the service by its name, and to reach it at its address.
func (s *standing) reached(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	service, err := s.clients.CoreV1().Services(namespace).Get(t.Context(), web, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.exec(t, pod, "/bin/busybox", "nslookup", "-type=a", web+"."+namespace+".svc.cluster.local")
	if err != nil || !strings.Contains(found, "Address: "+service.Spec.ClusterIP) {
		t.Errorf("the service's name stands for %q, want %s; %v", found, service.Spec.ClusterIP, err)
	}
	// Without -T, which makes Debian's static busybox crash; exec has a bound of its own.
	page, err := s.exec(t, pod, "/bin/busybox", "wget", "-q", "-O", "-", "http://"+service.Spec.ClusterIP)
	if err != nil || !strings.HasPrefix(page, "Hello from web-") {
		t.Errorf("the service's page is %q; %v", page, err)
	}
}
