package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/hostlock"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// TestLockHost holds the clean-up's lock against that of a run of Terraform: they exclude one another.
func TestLockHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	c := ssh.Local(false, nil)
	defer c.Close()
	release, err := lockHost(file, "clean up")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockHost(file, "clean up"); err == nil || !strings.Contains(err.Error(), ", clean up; since 20") {
		t.Errorf("got %v, want who has the lock", err)
	}
	var locked *hostlock.LockedError
	nothing := func(context.Context) error { return nil }
	if err := hostlock.Run(t.Context(), c, file, "install", nothing); !errors.As(err, &locked) || !strings.Contains(locked.Holder, ", clean up; since 20") {
		t.Errorf("got %v, want who has the lock", err)
	}
	release()
	err = hostlock.Run(t.Context(), c, file, "remove", func(context.Context) error {
		if _, err := lockHost(file, "clean up"); err == nil || !strings.Contains(err.Error(), ", remove; since 20") {
			t.Errorf("got %v, want who has the lock", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}
