package acctest

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/supervise"
)

// TestOpenRC is the core of everything on a machine with OpenRC and no systemd, whose containerd has no service for it: an
// apply to an answering service, services that are killed, an upgrade, a reboot, and a destroy that leaves nothing.
func TestOpenRC(t *testing.T) {
	t.Parallel() // beside TestVirtualMachine
	start := time.Now()
	m, err := fleet.StartOpenRC(t.Context(), prefix+"-6")
	if err != nil {
		t.Fatal(err)
	}
	before := listing(t, m)
	elapsed(t, &start, "boot of a machine with OpenRC")
	s := alone(t, m)
	planEmpty(t, s.Workspace)
	elapsed(t, &start, "apply from zero to 200, and an empty plan")

	s.clients, s.config = client(t, m)
	pods := containers(awaitPods(t, s.clients, 2, time.Minute))
	killed := time.Now()
	for _, service := range []string{"fairlead-containerd", "fairlead-server"} {
		killSupervised(t, m, service)
	}
	s.reported(t, killed, m.Name)
	if after := containers(awaitPods(t, s.clients, 2, time.Minute)); !maps.Equal(pods, after) {
		t.Errorf("containers changed:\nbefore %v\nafter  %v", pods, after)
	}
	// Logs are bounded: one that is full gives way to another.
	const log = "/var/log/fairlead/fairlead-server.log"
	command(t, m, fmt.Sprintf("head -c %d /dev/zero | tr '\\0' '\\n' >>%s", supervise.DefaultLogBytes, log))
	killSupervised(t, m, "fairlead-server")
	eventually(t, 30*time.Second, "another log", func(ctx context.Context) error {
		_, err := m.Run(ctx, fmt.Sprintf("[ $(stat -c %%s %[1]s) -lt %[2]d ] && [ $(stat -c %%s %[1]s.1) -ge %[2]d ] && tail -n 1 %[1]s.1 | grep killed", log, supervise.DefaultLogBytes))
		return err
	})
	s.reported(t, time.Now(), m.Name)
	elapsed(t, &start, "services killed")

	// A service whose supervisor was killed runs on, and has one again after the next change.
	command(t, m, "kill -9 $(cat /run/fairlead/fairlead-server.pid)")
	s.CLIConfig = newerProvider(t)
	apply(t, s.Workspace)
	says(t, command(t, m, "fairlead version; rc-service fairlead-server status"), newer, "status: started")
	if after := containers(awaitPods(t, s.clients, 2, time.Minute)); !maps.Equal(pods, after) {
		t.Errorf("containers changed:\nbefore %v\nafter  %v", pods, after)
	}
	elapsed(t, &start, "upgrade")

	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.restarted(t, pods)
	awaitPage(t, s.url)
	planEmpty(t, s.Workspace)
	elapsed(t, &start, "reboot to 200, and an empty plan")

	if _, err := s.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	inState(t, s.Workspace)
	bare(t, m, before)
	elapsed(t, &start, "destroy")
}

// killSupervised kills the process of a service, which is the child of the one that writes its log, and waits until its
// supervisor has started another.
func killSupervised(t *testing.T, m *machine.Machine, service string) {
	t.Helper()
	child := "cat /run/openrc/options/" + service + "/child_pid"
	old := command(t, m, "pid=$("+child+"); kill -9 $(pgrep -P $pid) && echo $pid")
	eventually(t, 30*time.Second, service+" running again", func(ctx context.Context) error {
		_, err := m.Run(ctx, "rc-service "+service+" status && pid=$("+child+") && [ $pid != "+old+" ] && kill -0 $pid")
		return err
	})
}

// restarted waits until the same pods are ready, each with another container than before.
func (s *standing) restarted(t *testing.T, before map[string]string) {
	t.Helper()
	eventually(t, 2*time.Minute, "other containers of the same pods", func(ctx context.Context) error {
		pods, err := webPods(ctx, s.clients)
		if err != nil {
			return err
		}
		after := containers(pods)
		for name, was := range before {
			if is, there := after[name]; !there || is == was {
				return fmt.Errorf("before %v, now %v", before, after)
			}
		}
		return nil
	})
	awaitPods(t, s.clients, len(before), time.Minute)
}
