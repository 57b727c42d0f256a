package acctest

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// testKill kills every daemon of the way from a request to its answer while requests go on. None may fail, no
// container may be touched, and the cluster must go on working.
func (s *standing) testKill(t *testing.T) {
	for _, k := range []struct {
		name string
		on   *machine.Machine
		unit string
	}{
		{"Agent", s.a, "fairlead-agent"},
		{"Containerd", s.a, "containerd"},
		{"Server", s.control, "fairlead-server"},
		{"ContainerdOfServer", s.control, "containerd"},
	} {
		t.Run(k.name, func(t *testing.T) {
			before := containers(awaitPods(t, s.clients, 3, time.Minute))
			l := startLoad(t, s.urls()...)
			l.more(t, 30)
			killed := time.Now()
			kill(t, k.on, k.unit)
			s.reported(t, killed, k.on.Name)
			l.more(t, 100)
			l.end(t)
			awaitNodes(t, s.clients, time.Minute, s.names()...)
			if after := containers(awaitPods(t, s.clients, 3, time.Minute)); !maps.Equal(before, after) {
				t.Errorf("containers changed:\nbefore %v\nafter  %v", before, after)
			}
			s.replace(t, k.on.Name)
		})
	}
}

// urls are the service's on every node.
func (s *standing) urls() []string {
	var port int
	var host [4]int
	if _, err := fmt.Sscanf(s.url, "http://%d.%d.%d.%d:%d", &host[0], &host[1], &host[2], &host[3], &port); err != nil {
		return []string{s.url}
	}
	var urls []string
	for _, m := range s.machines() {
		urls = append(urls, fmt.Sprintf("http://%s:%d", m.Address, port))
	}
	return urls
}

// containers says which containers the pods have, and how often each was restarted.
func containers(pods []corev1.Pod) map[string]string {
	all := map[string]string{}
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			all[p.Name+"/"+c.Name] = fmt.Sprintf("%s restarted %d times", c.ContainerID, c.RestartCount)
		}
	}
	return all
}

// kill kills the main process of a unit and waits until systemd has another one running.
func kill(t *testing.T, m *machine.Machine, unit string) {
	t.Helper()
	old := command(t, m, "pid=$(systemctl show -P MainPID "+unit+"); kill -9 $pid && echo $pid")
	eventually(t, 30*time.Second, unit+" running again", func(ctx context.Context) error {
		state, err := m.Run(ctx, "systemctl show -P MainPID -P ActiveState "+unit)
		var pid, active string
		if _, e := fmt.Sscan(state, &pid, &active); err == nil {
			err = e
		}
		if err == nil && (pid == "0" || pid == old || active != "active") {
			err = fmt.Errorf("main process %s, %s; it was %s", pid, active, old)
		}
		return err
	})
}

// reported waits until the node has renewed its lease since then: what the cluster says of it is news.
func (s *standing) reported(t *testing.T, since time.Time, node string) {
	t.Helper()
	eventually(t, time.Minute, "a sign of life of "+node, func(ctx context.Context) error {
		lease, err := s.clients.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, node, metav1.GetOptions{})
		if err == nil && (lease.Spec.RenewTime == nil || !lease.Spec.RenewTime.After(since)) {
			err = fmt.Errorf("the lease was renewed at %v", lease.Spec.RenewTime)
		}
		return err
	})
}

// replace deletes the node's pod and waits for another in its place: the node still does what it is told.
func (s *standing) replace(t *testing.T, node string) {
	t.Helper()
	pods, err := webPods(t.Context(), s.clients)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.Spec.NodeName != node {
			continue
		}
		if err := s.clients.CoreV1().Pods(namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "pod "+p.Name+" gone", func(ctx context.Context) error {
			list, err := s.clients.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name})
			if err == nil && len(list.Items) > 0 {
				err = fmt.Errorf("its status is %+v", list.Items[0].Status)
			}
			return err
		})
	}
	awaitPods(t, s.clients, 3, time.Minute)
}

// testPowerCut takes the power of one machine after the other away and gives it back: their pods run again.
func (s *standing) testPowerCut(t *testing.T) {
	for _, m := range []*machine.Machine{s.a, s.control} {
		before := containers(awaitPods(t, s.clients, 3, time.Minute))
		cut := time.Now()
		m.PowerCut()
		if err := m.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.reported(t, cut, m.Name)
		awaitNodes(t, s.clients, time.Minute, s.names()...)
		// Until the agent has looked, the pods' status is from before.
		after := before
		eventually(t, 2*time.Minute, "other containers after the power cut of "+m.Name, func(context.Context) error {
			if after = containers(awaitPods(t, s.clients, 3, 2*time.Minute)); maps.Equal(before, after) {
				return fmt.Errorf("no container is another: %v", after)
			}
			return nil
		})
		for name := range before {
			if _, ok := after[name]; !ok {
				t.Errorf("after the power cut of %s, %s is gone: %v", m.Name, name, after)
			}
		}
		l := startLoad(t, s.urls()...)
		l.more(t, 100)
		l.end(t)
	}
	planEmpty(t, s.Workspace)
}
