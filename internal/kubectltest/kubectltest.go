// Package kubectltest runs transcripts of shell sessions with kubectl against a server, with the oldest and the newest
// kubectl that is to work.
package kubectltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// commandTimeout bounds one command: seconds when the machine is quiet.
	commandTimeout = 90 * time.Second
	// settleTimeout bounds how long a command is repeated until it shows what is expected.
	settleTimeout = 90 * time.Second
	pause         = 200 * time.Millisecond
)

// versions are the oldest and the newest kubectl that is to work.
var versions = []string{"1.27", "1.33"}

// Binaries returns the paths of kubectl by version: those named kubectl.VERSION beside the one that PATH has, or
// where there are none that one alone.
func Binaries(tb testing.TB) map[string]string {
	tb.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		tb.Fatalf("kubectl is needed: %v", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		tb.Fatal(err)
	}
	found := map[string]string{}
	for _, version := range versions {
		p := filepath.Join(filepath.Dir(path), "kubectl."+version)
		if _, err := os.Stat(p); err == nil {
			found[version] = p
		}
	}
	switch len(found) {
	case len(versions):
	case 0:
		found[strings.TrimPrefix(filepath.Base(path), "kubectl.")] = path
	default:
		tb.Fatalf("beside %s there are some of kubectl.%s, and not all", path, strings.Join(versions, " and kubectl."))
	}
	return found
}

// Session is where transcripts are played: a kubectl and a way to a server.
type Session struct {
	Kubectl    string // path
	Kubeconfig string
	// Vars are the shell's variables, which expected output may name too, as ${NAME}.
	Vars map[string]string
}

// Play runs a transcript in a directory of its own and reports each step that does not show what it says.
func (s Session) Play(t *testing.T, script []byte) {
	t.Helper()
	steps, files, err := parse(string(script))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(s.expand(content)), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	bin := t.TempDir()
	if err := os.Symlink(s.Kubectl, filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "KUBECONFIG=" + s.Kubeconfig, "LC_ALL=C", "TERM=dumb"}
	for _, name := range slices.Sorted(maps.Keys(s.Vars)) {
		env = append(env, name+"="+s.Vars[name])
	}
	for _, st := range steps {
		for i := range st.want {
			st.want[i] = s.expand(st.want[i])
		}
		if !st.run(t, dir, env) {
			return // what follows builds on it
		}
	}
}

func (s Session) expand(text string) string {
	for name, value := range s.Vars {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

// run says whether going on makes sense.
func (st *step) run(t *testing.T, dir string, env []string) bool {
	t.Helper()
	end := time.Now().Add(settleTimeout)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		out, err := shell(t.Context(), dir, env, st.line)
		problem := st.judge(out, err)
		switch {
		case problem == "":
			return true
		case st.kind != eventually || time.Now().After(end):
			t.Errorf("line %d: %s\n%s\n--- it printed\n%s", st.number, st.line, problem, out)
			return st.kind != eventually
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return false
		}
	}
}

// shell runs a line and what it starts in the background, which ends with it.
func shell(ctx context.Context, dir string, env []string, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind; mostly there is nothing
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("not within %v: %w", commandTimeout, err)
	}
	return out.String(), err
}
