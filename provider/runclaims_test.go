package provider

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestRunClaims has the processes of two provider blocks claim hosts, and those of the next run.
func TestRunClaims(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "claims")
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	open := func(parent int) *runClaims {
		t.Helper()
		r, err := openRunClaims(dir, parent)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.close() }) // some are closed already
		return r
	}
	claimed := func(r *runClaims, key, mark, by string) {
		t.Helper()
		other, err := r.claim(key, claim{mark, "fairlead_node"})
		if err != nil {
			t.Fatal(err)
		}
		if got := other != nil; got != (by != "") || got && (other.Mark != by || other.Kind != "fairlead_node") {
			t.Errorf("host %s of %s is %+v, want %q", key, mark, other, by)
		}
	}
	old := open(ended.Process.Pid)
	claimed(old, "a:22", "old", "")
	one, two, elsewhere := open(os.Getpid()), open(os.Getpid()), open(os.Getppid())
	if _, err := os.Stat(old.dir); err == nil {
		t.Error("the claims of a run that has ended are still there")
	}
	claimed(one, "a:22", "first", "")
	claimed(one, "a:22", "first", "")
	claimed(two, "a:22", "second", "first")
	claimed(two, "a:22", "first", "") // planned anew, for another provider block
	claimed(two, "b:22", "second", "")
	claimed(one, "b:22", "first", "second")
	claimed(elsewhere, "a:22", "third", "")
	if err := one.close(); err != nil {
		t.Fatal(err)
	}
	three := open(os.Getpid())
	claimed(three, "a:22", "second", "first") // the run goes on as long as one is there
	for _, r := range []*runClaims{two, three} {
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	}
	claimed(open(os.Getpid()), "a:22", "second", "") // as another run with the same number
}

// TestClaimsOfAnotherUser wants no folder to be used that others may write into.
func TestClaimsOfAnotherUser(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := openRunClaims(dir, os.Getpid()); err == nil {
		t.Error("it was used")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := openRunClaims(link, os.Getpid()); err == nil {
		t.Error("a link was followed")
	}
}
