package pod_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// TestNamespaces looks at what a pod shares with its host, and its containers among each other.
func TestNamespaces(t *testing.T) {
	g := newRig(t)
	g.start()
	host, err := os.Readlink("/proc/self/ns/net")
	g.must(err)
	g.create(newPod("host", "readlink /proc/self/ns/net; "+idle, func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	p := g.await("host", "ready", isReady)
	g.eventually("log", func() bool { return g.logs("host", "", corev1.PodLogOptions{}) != "" })
	if out := g.logs("host", "", corev1.PodLogOptions{}); out != host+"\n" || p.Status.PodIP != p.Status.HostIP || len(g.network.Attached()) != 0 {
		t.Errorf("namespace %q, address %q", out, p.Status.PodIP)
	}
	g.create(newPod("shared", "exec sleep 4321", func(p *corev1.Pod) {
		p.Spec.ShareProcessNamespace = ptr(true)
		p.Spec.Containers = append(p.Spec.Containers, shell("other", "until ps | grep -q '[s]leep 4321'; do sleep 0.02; done; echo seen; "+idle))
	}))
	g.await("shared", "ready", isReady)
	g.eventually("each other", func() bool { return g.logs("shared", "other", corev1.PodLogOptions{}) == "seen\n" })
}

// TestIPC looks at the System V segments, message queues and shared memory that a pod's containers see: those of the pod or, with
// hostIPC, of the host.
func TestIPC(t *testing.T) {
	g := newRig(t)
	g.start()
	segment, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4711, unix.IPC_CREAT|0o600)
	g.must(err)
	t.Cleanup(func() {
		if _, err := unix.SysvShmCtl(segment, unix.IPC_RMID, nil); err != nil {
			t.Error(err)
		}
	})
	file, err := os.CreateTemp("/dev/shm", "fairlead-test-")
	g.must(err)
	t.Cleanup(func() { g.must(errors.Join(file.Close(), os.Remove(file.Name()))) })
	host, err := os.Readlink("/proc/self/ns/ipc")
	g.must(err)
	look := "readlink /proc/self/ns/ipc; grep -c ' 4711 ' /proc/sysvipc/shm; ls /dev/shm | grep -c " + filepath.Base(file.Name()) + "; ls /dev/mqueue; echo end; " + idle
	for name, tt := range map[string]struct {
		hostIPC     bool
		first, then string // what the pod's first container does, and what the second one waits for
		want        string // after the namespace
	}{
		"own":  {false, "touch /dev/mqueue/q; ", "until [ -e /dev/mqueue/q ]; do sleep 0.02; done; ", "0\n0\nq\nend\n"},
		"host": {true, "", "", "1\n1\nend\n"},
	} {
		g.create(newPod(name, tt.first+look, func(p *corev1.Pod) {
			p.Spec.HostIPC = tt.hostIPC
			p.Spec.Containers = append(p.Spec.Containers, shell("other", tt.then+look))
		}))
		var seen [2]string
		for i, c := range []string{"c", "other"} {
			g.eventually(name+" looks around", func() bool {
				seen[i] = g.logs(name, c, corev1.PodLogOptions{})
				return strings.HasSuffix(seen[i], "end\n")
			})
		}
		namespace, rest, _ := strings.Cut(seen[0], "\n")
		if seen[1] != seen[0] || (namespace == host) != tt.hostIPC || rest != tt.want {
			t.Errorf("%s: the containers see %q, the host is %s", name, seen, host)
		}
	}
}
