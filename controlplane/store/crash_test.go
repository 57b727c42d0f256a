package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
)

// crashDir and crashRound tell a child process of TestKill what to do.
const crashDir, crashRound = "STORE_CRASH_DIR", "STORE_CRASH_ROUND"

// TestKill has a process write from many goroutines until it is killed with SIGKILL, over and over on the same
// data. Every write that it was answered for must be there afterwards, at its revision, and a watch from before
// the first kill must see them all.
func TestKill(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, dir, os.Getenv(crashRound))
		return
	}
	const rounds, writes = 3, 150
	dir := t.TempDir()
	acknowledged := map[int64]string{}
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), crashDir+"="+dir, crashRound+"="+strconv.Itoa(round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < writes && lines.Scan(); n++ {
			text, ok := strings.CutPrefix(lines.Text(), "wrote ")
			at, event, ok2 := strings.Cut(text, " ")
			rev, err := strconv.ParseInt(at, 10, 64)
			if !ok || !ok2 || err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			acknowledged[rev] = event
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended before it was killed")
		}
	}
	if len(acknowledged) != rounds*writes {
		t.Fatalf("the children wrote %d times, want %d", len(acknowledged), rounds*writes)
	}
	m, _ := startEtcd(t, etcd.Config{DataDir: dir})
	s := New(m.Client, testKinds, Options{Log: quiet()})
	runStore(t, s)
	w, err := s.Watch(t.Context(), configMaps, WatchQuery{ResourceVersion: "1", Buffer: replay})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	mustCreate(t, s, configMaps, configMap("default", lastName, ""))
	seen := collect(t, w)
	for rev, event := range acknowledged {
		if seen[rev] != event {
			t.Errorf("at revision %d there is %q, acknowledged was %q", rev, seen[rev], event)
		}
	}
}

// writeUntilKilled prints every write as soon as it is answered.
func writeUntilKilled(t *testing.T, dir, round string) {
	m, _ := startEtcd(t, etcd.Config{DataDir: dir})
	s := New(m.Client, testKinds, Options{Log: quiet()})
	runStore(t, s)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			// The parent kills after 150 writes; all that any round can write is less than a restart replays.
			name := fmt.Sprint("cm-", n)
			for i := range 100 {
				value := fmt.Sprint(round, ".", i)
				item, err := s.Update(t.Context(), configMaps, "default", name, setValue(value))
				verb := "~"
				if err != nil {
					verb = "+"
					item, err = s.Create(t.Context(), configMaps, configMap("default", name, value), 0)
				}
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Printf("wrote %d %s%s=%s\n", item.Revision, verb, name, value)
			}
		})
	}
	wg.Wait()
	<-make(chan struct{}) // until killed, or the test's timeout when the parent is gone
}
