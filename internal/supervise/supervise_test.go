package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatal("never saw " + what)
}

func read(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

func configFor(dir, script string) Config {
	return Config{
		Name: "thing", Command: []string{"/bin/sh", "-c", script},
		PIDFile: filepath.Join(dir, "run", "thing.pid"), LogFile: filepath.Join(dir, "log", "thing.log"),
		MinPause: time.Millisecond, MaxPause: 20 * time.Millisecond, StopTimeout: 10 * time.Second,
	}
}

// start runs the supervisor; the returned function stops it and returns its error.
func start(t *testing.T, c Config) func() error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	stop := func() error { cancel(); return <-ended }
	t.Cleanup(cancel)
	return stop
}

func TestRestartsWhatEnds(t *testing.T) {
	dir := t.TempDir()
	c := configFor(dir, "echo run >>"+dir+"/runs; echo to the log; exit 3")
	stop := start(t, c)
	eventually(t, "three runs", func() bool { return strings.Count(read(dir+"/runs"), "run") >= 3 })
	if got := strings.TrimSpace(read(c.PIDFile)); got != strconv.Itoa(os.Getpid()) {
		t.Errorf("the PID file has %q", got)
	}
	if err := Run(t.Context(), c); !errors.Is(err, ErrRunning) {
		t.Errorf("a second supervisor: %v, want ErrRunning", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.PIDFile); err == nil {
		t.Error("the PID file is still there")
	}
	for _, want := range []string{"to the log", "exit status 3", "restarting"} {
		if !strings.Contains(read(c.LogFile), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestOnce(t *testing.T) {
	dir := t.TempDir()
	c := configFor(dir, "echo run >>"+dir+"/runs; echo the last words >&2; kill -9 $$")
	c.Once, c.PIDFile = true, ""
	for runs := 1; runs <= 2; runs++ {
		if err := Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(read(dir+"/runs"), "run"); got != runs {
			t.Errorf("%d runs, want %d", got, runs)
		}
		for _, want := range []string{"the last words", "signal: killed"} {
			if got := strings.Count(read(c.LogFile), want); got != runs {
				t.Errorf("the log has %q %d times after %d runs", want, got, runs)
			}
		}
	}
}

func TestStopsWithSIGTERM(t *testing.T) {
	dir := t.TempDir()
	c := configFor(dir, `trap 'echo terminated >`+dir+`/end; exit 0' TERM; : >`+dir+`/ready; while :; do sleep 0.01; done`)
	stop := start(t, c)
	eventually(t, "the command", func() bool { _, err := os.Stat(dir + "/ready"); return err == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if read(dir+"/end") != "terminated\n" {
		t.Error("the command did not get SIGTERM")
	}
}

func TestKillsWhatDoesNotStop(t *testing.T) {
	dir := t.TempDir()
	c := configFor(dir, `trap '' TERM; echo $$ >`+dir+`/pid.new; mv `+dir+`/pid.new `+dir+`/pid; while :; do sleep 0.01; done`)
	c.StopTimeout = 50 * time.Millisecond
	stop := start(t, c)
	eventually(t, "the command", func() bool { return read(dir+"/pid") != "" })
	pid, err := strconv.Atoi(strings.TrimSpace(read(dir + "/pid")))
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the command is still there: %v", err)
	}
}

func TestLeavesWhatTheCommandLeft(t *testing.T) {
	dir := t.TempDir()
	c := configFor(dir, `setsid sleep 300 & echo $! >`+dir+`/pid.new; mv `+dir+`/pid.new `+dir+`/pid; wait`)
	stop := start(t, c)
	eventually(t, "the child", func() bool { return read(dir+"/pid") != "" })
	pid, err := strconv.Atoi(strings.TrimSpace(read(dir + "/pid")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
}

func TestSaysWhyItCannotStart(t *testing.T) {
	dir := t.TempDir()
	c := configFor(dir, "")
	c.Command = []string{dir + "/missing"}
	stop := start(t, c)
	eventually(t, "the reason", func() bool { return strings.Contains(read(c.LogFile), "no such file") })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestRejects(t *testing.T) {
	for name, c := range map[string]Config{
		"no command":  {PIDFile: "/p", LogFile: "/l"},
		"no PID file": {Command: []string{"true"}, LogFile: "/l"},
		"no log file": {Command: []string{"true"}, PIDFile: "/p", Once: true},
	} {
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestLogRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	for range 2 { // the second finds the first one's files
		l, err := openLog(path, 10, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"one 1\n", "two 2\n", "three\n", "four 4\n"} {
			if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{path: "four 4\n", path + ".1": "three\n", path + ".2": "two 2\n", path + ".3": ""} {
		if got := read(file); got != want {
			t.Errorf("%s has %q, want %q", file, got, want)
		}
	}
}
