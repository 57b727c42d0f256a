package bootstrap_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

var (
	testCluster = bootstrap.Cluster{Name: "test", PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", Domain: "cluster.local"}
	testOwner   = bootstrap.Owner{ID: "one", Host: "192.0.2.11:22", Folder: "/infra", By: "ops@laptop"}
	testControl = bootstrap.ControlPlane{Cluster: testCluster, Node: bootstrap.Node{Owner: testOwner}, Pods: true, CertificateNames: []string{"api.example"}}
)

// changes are the entries of a transcript that change something.
func changes(c *ssh.Fake) []string {
	return slices.DeleteFunc(c.Transcript(), func(entry string) bool {
		return !strings.HasPrefix(entry, "> ") && !strings.Contains(entry, "systemctl restart")
	})
}

func installControl(t *testing.T) *fakeHost {
	t.Helper()
	h := newHost(t, "Control", "192.0.2.11")
	h.SetFile("/var/lib/fairlead/server/pki/cluster-ca.crt", string(h.keys.Authority.PEM()), 0o644)
	h.nodes["control"] = node("control", h.address, corev1.ConditionTrue)
	h.nodes["worker"] = node("worker", "192.0.2.12", corev1.ConditionTrue)
	in, err := bootstrap.InstallServer(t.Context(), h, testControl, binaryOf(t, "v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := bootstrap.Installed{Present: true, Role: "server", Version: "v1", SHA256: sha256Of([]byte("v1")), Cluster: "test", NodeName: "control",
		Healthy: true, CA: in.CA, APIAddress: "127.0.0.1:6443", Address: "192.0.2.11"}
	if len(in.CA) == 0 || !sameInstalled(*in, want) {
		t.Errorf("got %+v", in)
	}
	return h
}

func sameInstalled(a, b bootstrap.Installed) bool {
	same := string(a.CA) == string(b.CA)
	a.CA, b.CA = nil, nil
	return same && a.Present == b.Present && a.Role == b.Role && a.Version == b.Version && a.SHA256 == b.SHA256 && a.Cluster == b.Cluster &&
		a.NodeName == b.NodeName && a.Healthy == b.Healthy && a.APIAddress == b.APIAddress && a.Address == b.Address
}

func TestInstallServer(t *testing.T) {
	h := installControl(t)
	golden(t, "server", h.Fake)
	for path, mode := range map[string]fs.FileMode{"/etc/fairlead/server.yaml": 0o600, "/usr/local/bin/fairlead": 0o755} {
		if got := h.Files()[path].Mode; got != mode {
			t.Errorf("%s has mode %v", path, got)
		}
	}
	h.Forget()
	if _, err := bootstrap.InstallServer(t.Context(), h, testControl, binaryOf(t, "v1"), nil); err != nil {
		t.Fatal(err)
	}
	if got := changes(h.Fake); len(got) > 0 {
		t.Errorf("the same input changed %q", got)
	}
}

// TestInterruption ends an installation after each of its calls, and runs it again: for another resource in another folder,
// since nobody may have written down the first.
func TestInterruption(t *testing.T) {
	reference := installControl(t)
	again := testControl
	again.Node.Owner = bootstrap.Owner{ID: "two", Host: testOwner.Host, Folder: "/elsewhere", By: testOwner.By}
	for n := 1; n < len(reference.Transcript()); n++ {
		h := newHost(t, "Control", "192.0.2.11")
		h.SetFile("/var/lib/fairlead/server/pki/cluster-ca.crt", string(h.keys.Authority.PEM()), 0o644)
		h.nodes["control"] = node("control", h.address, corev1.ConditionTrue)
		if _, err := bootstrap.InstallServer(t.Context(), &cutOff{Conn: h, after: n}, testControl, binaryOf(t, "v1"), nil); err == nil {
			break // it got through
		}
		in, err := bootstrap.InstallServer(t.Context(), h, again, binaryOf(t, "v1"), nil)
		if err != nil && strings.Contains(err.Error(), "of a resource with the address") {
			// It had come to its end: from there on it is the first resource's.
			in, err = bootstrap.InstallServer(t.Context(), h, testControl, binaryOf(t, "v1"), nil)
		} else if err == nil && in.Owner.ID != "two" {
			t.Errorf("after an end at call %d the host is of %q", n, in.Owner.ID)
		}
		if err != nil || !in.Healthy || !in.Owner.Done {
			t.Fatalf("after an end at call %d: %+v, %v", n, in, err)
		}
		for path, want := range reference.Files() {
			if got := h.Files()[path]; !strings.HasSuffix(path, ".crt") && path != "/etc/fairlead/owner" && string(got.Data) != string(want.Data) {
				t.Errorf("after an end at call %d %s differs", n, path)
			}
		}
		if h.revision != reference.revision {
			t.Errorf("after an end at call %d the process is of revision %q", n, h.revision)
		}
	}
}

func TestConfigurationChangeRestartsOnce(t *testing.T) {
	h := installControl(t)
	h.Forget()
	changed := testControl
	changed.CertificateNames = nil
	if _, err := bootstrap.InstallServer(t.Context(), h, changed, binaryOf(t, "v1"), nil); err != nil {
		t.Fatal(err)
	}
	got := changes(h.Fake)
	restarts := 0
	for _, c := range got {
		if strings.Contains(c, "systemctl restart") {
			restarts++
		}
	}
	if restarts != 1 || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "/usr/local/bin") }) {
		t.Errorf("changed %q", got)
	}
}

func TestServerThatDies(t *testing.T) {
	h := newHost(t, "control", "192.0.2.11")
	h.SetFile("/var/lib/fairlead/server/pki/cluster-ca.crt", string(h.keys.Authority.PEM()), 0o644)
	h.set(func() { h.dies = true })
	_, err := bootstrap.InstallServer(t.Context(), h, testControl, binaryOf(t, "v1"), nil)
	var sick *bootstrap.HealthError
	var phase *bootstrap.PhaseError
	if !errors.As(err, &sick) || !errors.As(err, &phase) || sick.Log != "panic: no more paper" || !strings.Contains(err.Error(), "ends again and again") {
		t.Fatalf("got %v", err)
	}
}

func TestWaitsEndWithTheContext(t *testing.T) {
	h := newHost(t, "control", "192.0.2.11")
	h.SetFile("/var/lib/fairlead/server/pki/cluster-ca.crt", string(h.keys.Authority.PEM()), 0o644)
	h.set(func() { h.ready = false })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := bootstrap.InstallServer(ctx, h, testControl, binaryOf(t, "v1"), nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "last: etcd-readiness failed: etcd has no leader") {
		t.Fatalf("got %v, want the deadline and what was last seen", err)
	}
}

func TestJoinNode(t *testing.T) {
	control := installControl(t)
	control.Forget()
	worker := newHost(t, "worker", "192.0.2.12")
	n := bootstrap.Node{Labels: map[string]string{"zone": "a"}, Taints: []string{"k=v:NoSchedule"}, EvictionHard: map[string]string{"memory.available": "1Gi"}}
	in, err := bootstrap.JoinNode(t.Context(), control, worker, testCluster, n, binaryOf(t, "v1"), nil)
	if err != nil || !in.Healthy || in.NodeName != "worker" || in.Role != "agent" || in.Address != "192.0.2.12" {
		t.Fatalf("got %+v, %v", in, err)
	}
	golden(t, "worker", worker.Fake)
	golden(t, "worker-control", control.Fake)
	worker.Forget()
	if _, err := bootstrap.JoinNode(t.Context(), control, worker, testCluster, n, binaryOf(t, "v1"), nil); err != nil {
		t.Fatal(err)
	}
	if got := changes(worker.Fake); len(got) > 0 {
		t.Errorf("the same input changed %q", got)
	}
}

func TestJoinRefusals(t *testing.T) {
	control := installControl(t)
	bare := newHost(t, "bare", "192.0.2.13")
	for name, test := range map[string]struct {
		control ssh.Conn
		cluster bootstrap.Cluster
		node    bootstrap.Node
		prepare func(*fakeHost)
		message string
	}{
		"no control plane": {control: bare, cluster: testCluster, message: "is no control-plane host"},
		"another cluster":  {control: control, cluster: bootstrap.Cluster{Name: "other"}, message: `is of cluster "test", not "other"`},
		"name is taken":    {control: control, cluster: testCluster, node: bootstrap.Node{Name: "control"}, message: "a ready node at 192.0.2.11 has it"},
		"of another authority": {control: control, cluster: testCluster, message: `it is node "worker" of cluster "test", which is another one of that name`, prepare: func(h *fakeHost) {
			h.SetFile("/etc/fairlead/agent.yaml", "nodeName: worker\n", 0o600)
			h.SetFile("/etc/fairlead/cluster", "test\n", 0o644)
			h.SetFile("/etc/fairlead/ca.crt", "x", 0o644)
		}},
		"of another authority than is known": {control: bare, cluster: bootstrap.Cluster{Name: "test", CA: []byte("y")}, message: "which is another one of that name", prepare: func(h *fakeHost) {
			h.SetFile("/etc/fairlead/agent.yaml", "nodeName: worker\n", 0o600)
			h.SetFile("/etc/fairlead/cluster", "test\n", 0o644)
			h.SetFile("/etc/fairlead/ca.crt", "x", 0o644)
		}},
		"of another name": {control: control, cluster: testCluster, message: `it is node "worker" of cluster "elsewhere"; destroy it there first`, prepare: func(h *fakeHost) {
			h.SetFile("/etc/fairlead/agent.yaml", "nodeName: worker\n", 0o600)
			h.SetFile("/etc/fairlead/cluster", "elsewhere\n", 0o644)
		}},
		"a name that cannot be": {control: control, cluster: testCluster, node: bootstrap.Node{Name: "my_node"}, message: `"my_node" cannot be a node's name`},
		"a node of another name": {control: control, cluster: testCluster, node: bootstrap.Node{Name: "new"}, message: `it is node "worker" and would become "new"`, prepare: func(h *fakeHost) {
			h.SetFile("/etc/fairlead/agent.yaml", "nodeName: worker\n", 0o600)
		}},
		"a server": {control: control, cluster: testCluster, message: `it is the control plane of cluster "test" already`, prepare: func(h *fakeHost) {
			h.SetFile("/etc/fairlead/server.yaml", "clusterName: test\n", 0o600)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			worker := newHost(t, "worker", "192.0.2.12")
			if test.prepare != nil {
				test.prepare(worker)
			}
			_, err := bootstrap.JoinNode(t.Context(), test.control, worker, test.cluster, test.node, binaryOf(t, "v1"), nil)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want %q", err, test.message)
			}
			if got := changes(worker.Fake); len(got) > 0 {
				t.Errorf("the worker was changed: %q", got)
			}
		})
	}
}

func TestNodeThatIsNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*fakeHost)
		message string
	}{
		"not ready": {func(h *fakeHost) { h.nodes["worker"] = node("worker", "192.0.2.12", corev1.ConditionFalse) }, "network is not there"},
		"ready, and without its network": {func(h *fakeHost) {
			n := node("worker", "192.0.2.12", corev1.ConditionTrue)
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue, Reason: "DNSNotServed", Message: "the port is taken"})
			h.nodes["worker"] = n
		}, "DNSNotServed: the port is taken"},
		"not registered":                       {func(h *fakeHost) { delete(h.nodes, "worker") }, "has not registered"},
		"ready, as an earlier process left it": {func(h *fakeHost) { h.frozen = true }, "no sign of life"},
	} {
		t.Run(name, func(t *testing.T) {
			control := installControl(t)
			control.set(func() { test.prepare(control) })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := bootstrap.JoinNode(ctx, control, newHost(t, "worker", "192.0.2.12"), testCluster, bootstrap.Node{}, binaryOf(t, "v1"), nil)
			var sick *bootstrap.HealthError
			if !errors.As(err, &sick) || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("got %v, want %q", err, test.message)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	good, busy, arm, old := newHost(t, "a", "192.0.2.1"), newHost(t, "b", "192.0.2.2"), newHost(t, "c", "192.0.2.3"), newHost(t, "a", "192.0.2.4")
	busy.facts += "port=tcp 6443 77 haproxy\n"
	old.facts += "address=eth1 10.244.9.9/24\n"
	arm.facts = strings.Replace(arm.facts, "x86_64", "aarch64", 1)
	lost := ssh.NewFake("192.0.2.5")
	_ = lost.Close()
	err := bootstrap.Preflight(t.Context(), testCluster, binaryOf(t, "v1"), []bootstrap.Target{
		{Conn: good, Role: "server"}, {Conn: busy, Role: "server"}, {Conn: arm, Role: "agent"}, {Conn: old, Role: "agent"}, {Conn: lost, Role: "agent"},
	})
	var failed *bootstrap.PreflightError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range failed.Failures {
		got = append(got, f.Host+" "+f.Check)
		if f.Found == "" || f.Fix == "" {
			t.Errorf("%v does not say enough", f)
		}
	}
	want := []string{"192.0.2.2 port", "192.0.2.3 architecture", "192.0.2.4 address range", "192.0.2.4 node name", "192.0.2.5 connection"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, h := range []*fakeHost{good, busy, arm, old} {
		if got := changes(h.Fake); len(got) > 0 {
			t.Errorf("%s was changed: %q", h.Host(), got)
		}
	}
	// A port that the agent does not need is no matter to it.
	if err := bootstrap.Preflight(t.Context(), testCluster, binaryOf(t, "v1"), []bootstrap.Target{{Conn: busy, Role: "agent"}}); err != nil {
		t.Error(err)
	}
}

// TestReleaseFile wants a release file that does not run on the host, or is of another version, not to be started.
func TestReleaseFile(t *testing.T) {
	for _, c := range []struct{ name, content, answer, says string }{
		{"right", "v1", `{"version":"v1"}`, ""},
		{"other version", "v0", `{"version":"v0"}`, "is version v0, and this provider is v1"},
		{"other platform", "code", "", "is no fairlead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, "control", "192.0.2.11")
			h.SetFile("/var/lib/fairlead/server/pki/cluster-ca.crt", string(h.keys.Authority.PEM()), 0o644)
			h.nodes["control"] = node("control", h.address, corev1.ConditionTrue)
			h.Reply("/usr/local/bin/fairlead version -o json", c.answer)
			bin := binaryOf(t, c.content)
			bin.Version, bin.Release = "v1", true
			for range 2 { // what the first has uploaded is not taken for right by the second
				_, err := bootstrap.InstallServer(t.Context(), h, testControl, bin, nil)
				if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
					t.Errorf("it says %v", err)
				}
			}
			if _, written := h.Files()["/etc/fairlead/server.yaml"]; written != (c.says == "") {
				t.Errorf("its configuration is there: %t", written)
			}
		})
	}
}

func TestIssueCredential(t *testing.T) {
	h := newHost(t, "control", "192.0.2.11")
	cred, err := bootstrap.IssueCredential(t.Context(), h, "it's me", []string{"g1", "g2"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certs.ParseKey(cred.Key); err != nil {
		t.Error(err)
	}
	if cred.Server != "https://192.0.2.11:6443" || cred.APIAddress != "127.0.0.1:6443" || cred.Expires.Year() != 2030 || len(cred.CA) == 0 {
		t.Errorf("got %+v", cred)
	}
	if want := []string{`# /usr/local/bin/fairlead credential sign --user 'it'\''s me' --group 'g1' --group 'g2' --ttl 1h0m0s`}; !slices.Equal(h.Transcript(), want) {
		t.Errorf("ran %q", h.Transcript())
	}
	for _, bad := range []string{"", "{}", `{"ca":"x","certificate":"y","server":"http://h:1"}`} {
		h.Reply("credential sign", bad)
		if _, err := bootstrap.IssueCredential(t.Context(), h, "u", nil, time.Hour); err == nil {
			t.Errorf("answer %q was taken", bad)
		}
	}
}

// TestOwner installs on a host that is a resource's already.
func TestOwner(t *testing.T) {
	with := func(change func(o *bootstrap.Owner)) bootstrap.Owner {
		o := testOwner
		o.ID = "two"
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		by   bootstrap.Owner
		says string // why it is refused
	}{
		"itself":               {testOwner, ""},
		"itself, elsewhere":    {with(func(o *bootstrap.Owner) { o.ID, o.Folder, o.Host = "one", "/ci/infra", "h:22" }), ""},
		"nobody":               {bootstrap.Owner{}, ""},
		"another name of it":   {with(func(o *bootstrap.Owner) { o.By = "root@ci" }), ""},
		"imported":             {with(func(o *bootstrap.Owner) { o.Folder, o.Adopts = "/other", true }), ""},
		"another folder":       {with(func(o *bootstrap.Owner) { o.Folder = "/other" }), "terraform state rm"},
		"another address":      {with(func(o *bootstrap.Owner) { o.Host = "control.example:22" }), "leave one of the resources out"},
		"another in all":       {with(func(o *bootstrap.Owner) { o.Host, o.Folder = "control.example:22", "/other" }), "destroy it there first"},
		"of the same computer": {with(func(o *bootstrap.Owner) { o.Folder = "/infra, workspace staging" }), "terraform state rm"},
	} {
		t.Run(name, func(t *testing.T) {
			h := installControl(t)
			h.Forget()
			cp := testControl
			cp.Node.Owner = c.by
			in, err := bootstrap.InstallServer(t.Context(), h, cp, binaryOf(t, "v1"), nil)
			if check := c.by.Check(t.Context(), h); (check == nil) != (err == nil) {
				t.Errorf("an update would end with %v", check)
			}
			if c.says == "" {
				want := c.by.ID
				if want == "" {
					want = "one"
				}
				if err != nil || in.Owner.ID != want || !in.Owner.Done || in.Owner.Since.IsZero() {
					t.Errorf("the host is of %+v, %v", in.Owner, err)
				}
				return
			}
			var failed *bootstrap.PreflightError
			if !errors.As(err, &failed) || len(failed.Failures) != 1 {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{`it is the control plane of cluster "test" and of a resource with the address 192.0.2.11:22, since 20`, "ops@laptop applied it in /infra", c.says, "fairlead cleanup"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q: %v", want, err)
				}
			}
			if got := changes(h.Fake); len(got) > 0 {
				t.Errorf("the host was changed: %q", got)
			}
		})
	}
}
