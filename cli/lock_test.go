package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/hostlock"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// TestLockHost holds the clean-up's lock against that of a run of Terraform: they exclude one another, and a clean-up
// that a run started has the lock when that run is gone.
func TestLockHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	c := ssh.Local(false, nil)
	defer c.Close()
	release, err := lockHost(t.Context(), file, "clean up", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockHost(t.Context(), file, "clean up", false); err == nil || !strings.Contains(err.Error(), ", clean up; since 20") {
		t.Errorf("got %v, want who has the lock", err)
	}
	var locked *hostlock.LockedError
	nothing := func(context.Context) error { return nil }
	if err := hostlock.Run(t.Context(), c, file, "install", nothing); !errors.As(err, &locked) || !strings.Contains(locked.Holder, ", clean up; since 20") {
		t.Errorf("got %v, want who has the lock", err)
	}
	release()
	err = hostlock.Run(t.Context(), c, file, "remove", func(ctx context.Context) error {
		if _, err := lockHost(ctx, file, "clean up", false); err == nil || !strings.Contains(err.Error(), ", remove; since 20") {
			t.Errorf("got %v, want who has the lock", err)
		}
		release, err = lockHost(t.Context(), file, "clean up", true)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(inheritEvery) {
		f, err := tryLock(file)
		if err != nil {
			break
		}
		unlock(f)
		if time.Now().After(deadline) {
			t.Fatal("the lock was not taken over")
		}
	}
	release()
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}
