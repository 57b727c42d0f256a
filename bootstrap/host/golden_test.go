package host

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what a fake was asked, and the files that it has then, with a file of testdata: these commands
// run as root on other people's machines, so that no change of one goes unseen.
func golden(t *testing.T, c *ssh.Fake) {
	t.Helper()
	var b strings.Builder
	for _, entry := range c.Transcript() {
		b.WriteString(entry + "\n\n")
		if words := strings.Fields(entry); words[0] == ">" {
			b.Write(c.Files()[words[1]].Data)
			b.WriteString("\n")
		}
	}
	file := filepath.Join("testdata", strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the commands differ from %s (go test -update writes it anew):\n%s", file, got)
	}
}

func TestFactsCommand(t *testing.T) {
	c := ssh.NewFake("h")
	c.Reply("", "os=Linux\ninit=none\n")
	if _, err := Gather(t.Context(), c, []string{"tcp/6443", "udp/8472"}); err != nil {
		t.Fatal(err)
	}
	golden(t, c)
}

func TestPackageCommands(t *testing.T) {
	for _, manager := range []string{"apt-get", "dnf", "apk"} {
		t.Run(manager, func(t *testing.T) {
			c := ssh.NewFake("h")
			c.SetFile(RecordFile, "service containerd\n", 0o644)
			for _, plan := range []string{"Inst", "echo \"$n\""} {
				c.Reply(plan, "runc\nlibfoo\n")
			}
			f := &Facts{PackageManager: manager, Tools: map[string]string{"containerd": "1"}}
			if _, err := EnsureTools(t.Context(), c, f); err != nil {
				t.Fatal(err)
			}
			names, err := Recorded(t.Context(), c, "package")
			if err != nil || strings.Join(names, " ") != "runc libfoo" {
				t.Errorf("recorded %v, %v", names, err)
			}
			if err := Packages(c, f).Remove(t.Context(), names); err != nil {
				t.Fatal(err)
			}
			golden(t, c)
		})
	}
}

func TestEnsureToolsWithoutManager(t *testing.T) {
	c := ssh.NewFake("h")
	if _, err := EnsureTools(t.Context(), c, &Facts{Tools: map[string]string{"containerd": "", "runc": "", "nft": ""}}); err != nil {
		t.Errorf("what is only wanted was insisted on: %v", err)
	}
	if _, err := EnsureTools(t.Context(), c, &Facts{}); err == nil {
		t.Error("nothing was there and nothing could install it, and there was no error")
	}
	if got := c.Transcript(); len(got) > 0 {
		t.Errorf("ran %q", got)
	}
}

func TestServiceCommands(t *testing.T) {
	service := Service{Name: "fairlead-agent", Description: "Fairlead node agent", Revision: "r",
		Command: []string{"/usr/local/bin/fairlead", "agent", "--config", "/etc/fairlead/agent.yaml"}, LowerOOM: true}
	for _, init := range []string{InitSystemd, InitOpenRC, InitNone} {
		t.Run(init, func(t *testing.T) {
			c, ctx := ssh.NewFake("h"), t.Context()
			c.Reply("ctr ", "started\n")
			c.Reply("/environ", "12 active running\nrev\n")
			c.Reply("command -v containerd", "/usr/bin/containerd\n")
			m := Services(c, init)
			if m.Kind() != init {
				t.Errorf("it calls itself %s", m.Kind())
			}
			first, err := m.Install(ctx, service)
			if err != nil {
				t.Fatal(err)
			}
			again, err := m.Install(ctx, service)
			if err != nil || again != first {
				t.Errorf("revisions %s and %s, %v", first, again, err)
			}
			if st, err := m.Status(ctx, service.Name); err != nil || st != (Status{Active: true, PID: 12, Revision: "rev", Detail: "active running"}) {
				t.Errorf("status %+v, %v", st, err)
			}
			if started, err := m.EnsureContainerd(ctx); err != nil || !started {
				t.Errorf("containerd: %v, %v", started, err)
			}
			for _, do := range []func(context.Context, string) error{m.Restart, m.Stop, m.Remove} {
				if err := do(ctx, service.Name); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := m.Logs(ctx, service.Name, 20); err != nil {
				t.Fatal(err)
			}
			golden(t, c)
			service := service
			service.Revision = "other"
			if other, err := m.Install(ctx, service); err != nil || other == first {
				t.Errorf("another binary has the same revision: %v", err)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	for out, want := range map[string]Status{
		"12 active running\nabc\n":       {true, 12, "abc", "active running"},
		"0 failed failed exit-code 1 \n": {false, 0, "", "failed failed exit-code 1"},
		"":                               {},
		"x":                              {},
		"12 active\n":                    {true, 12, "", "active"},
	} {
		if got := parseStatus(out); got != want {
			t.Errorf("%q: %+v", out, got)
		}
	}
}
