package network

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

func TestHostPorts(t *testing.T) {
	lab := netlab.New(t)
	n := startNode(t, lab.Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", "")
	n.Address("uplink0", "192.0.2.10/24")
	client := lab.Host("192.0.2.9/24")
	pod, addr := n.pod(t, "a",
		PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}, PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "UDP"},
		PortMapping{HostPort: 8081, ContainerPort: 80, Protocol: "TCP", HostIP: netip.MustParseAddr("192.0.2.10")},
		PortMapping{HostPort: 8081, ContainerPort: 80, Protocol: "UDP", HostIP: netip.MustParseAddr("192.0.2.10")})
	pod.Serve("a", "0.0.0.0:80")
	other, otherAddr := n.pod(t, "b")

	check := func() {
		t.Helper()
		ask(t, client, "192.0.2.1:8080", netip.MustParseAddr("192.0.2.9"))
		ask(t, n.NS, "192.0.2.1:8080", netip.MustParseAddr("192.0.2.1"))
		ask(t, other, "192.0.2.1:8080", otherAddr)
		ask(t, pod, "192.0.2.1:8080", netip.MustParseAddr("10.244.1.1")) // itself, by the host: masqueraded
		ask(t, client, "192.0.2.10:8081", netip.MustParseAddr("192.0.2.9"))
		if _, _, err := client.Ask("tcp", "192.0.2.1:8081"); err == nil {
			t.Error("a port of one address answers on another")
		}
	}
	check()
	n.Do(func() error { // the nft of a distribution can show the table
		out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "tcp . 8080 : "+addr.String()+" . 80") {
			return fmt.Errorf("nft list ruleset: %w\n%s", err, out)
		}
		return nil
	})
	n.bridge.Close()
	n.start(t)
	check()
	busy, err := client.Dial("udp", "192.0.2.1:8080", "") // never pauses, from before to after the pod
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	if _, _, err := busy.Ask(); err != nil {
		t.Fatal(err)
	}

	_, err = n.bridge.Attach(t.Context(), Pod{UID: "c", Ports: []PortMapping{{HostPort: 8080, ContainerPort: 1}}}, other.Path())
	if err == nil {
		t.Error("a host port is given to two pods")
	}
	if _, held := n.bridge.Attached()["c"]; held {
		t.Error("a refused pod keeps its address")
	}
	if err := n.bridge.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Ask("tcp", "192.0.2.1:8080"); err == nil {
		t.Errorf("host port of %s answers after Detach", addr)
	}
	next, _ := n.pod(t, "next", PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "UDP"})
	next.Serve("next", "0.0.0.0:80")
	if name, _, err := busy.Ask(); err != nil || name != "next" {
		t.Errorf("a client that never pauses is answered by %q, %v; want the port's new pod", name, err)
	}
}

func TestDroppingChains(t *testing.T) {
	host := netlab.Namespace(t)
	host.Do(func() error {
		rules := "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; chain INPUT { type filter hook input priority 0; policy drop; }; }\n" +
			"table inet own { chain f { type filter hook forward priority 0; policy accept; }; }\n"
		nft := exec.Command("nft", "-f", "-")
		nft.Stdin = strings.NewReader(rules)
		if out, err := nft.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		got, err := DroppingChains()
		if fmt.Sprint(got) != "[ip filter FORWARD]" {
			t.Errorf("dropping chains %v, want ip filter FORWARD", got)
		}
		return err
	})
}

// Somebody flushes the ruleset: the next look mends it, and so does a change before that.
func TestRemovedRulesAreMended(t *testing.T) {
	lab := netlab.New(t)
	n := startNode(t, lab.Host("192.0.2.1/24"), "192.0.2.1", "10.244.1.0/24", "")
	client := lab.Host("192.0.2.9/24")
	for uid, mend := range map[string]func(){
		"look":   func() { _ = n.bridge.rules.ensure() },
		"attach": func() { _, _ = n.pod(t, "other", PortMapping{HostPort: 9090, ContainerPort: 90}) },
		"detach": func() { _ = n.bridge.Detach(t.Context(), "other") },
	} {
		pod, _ := n.pod(t, uid, PortMapping{HostPort: 8080, ContainerPort: 80})
		pod.Serve(uid, "0.0.0.0:80")
		if uid == "detach" {
			_, _ = n.pod(t, "other", PortMapping{HostPort: 9090, ContainerPort: 90})
		}
		n.Do(removeTable)
		mend()
		if name, _, err := client.Ask("tcp", "192.0.2.1:8080"); err != nil || name != uid {
			t.Errorf("%s: answer from %q, %v", uid, name, err)
		}
		for _, gone := range []types.UID{"other", types.UID(uid)} {
			if err := n.bridge.Detach(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
		}
	}
}
