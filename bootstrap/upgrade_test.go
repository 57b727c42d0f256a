package bootstrap_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// cutOff is a connection that is lost after some calls.
type cutOff struct {
	ssh.Conn
	mu    sync.Mutex
	after int
}

func (c *cutOff) spend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after--; c.after < 0 {
		return &ssh.ConnError{Host: c.Host(), Err: errors.New("the cable is out")}
	}
	return nil
}

func (c *cutOff) Run(ctx context.Context, cmd ssh.Command) (ssh.Result, error) {
	if err := c.spend(); err != nil {
		return ssh.Result{}, err
	}
	return c.Conn.Run(ctx, cmd)
}

func (c *cutOff) Upload(ctx context.Context, r io.Reader, path string, mode fs.FileMode) error {
	if err := c.spend(); err != nil {
		return err
	}
	return c.Conn.Upload(ctx, r, path, mode)
}

func (c *cutOff) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if err := c.spend(); err != nil {
		return nil, err
	}
	return c.Conn.ReadFile(ctx, path)
}

// keepsBinaries does what the commands do that keep the previous binary and put it back.
func keepsBinaries(h *fakeHost) {
	const binary, previous = "/usr/local/bin/fairlead", "/usr/local/bin/.fairlead.previous"
	h.answer("ln /usr", func(string) string {
		if _, ok := h.Files()[previous]; !ok {
			h.SetFile(previous, string(h.Files()[binary].Data), 0o755)
		}
		return ""
	})
	h.answer("mv -f "+previous, func(string) string {
		if f, ok := h.Files()[previous]; ok {
			h.SetFile(binary, string(f.Data), 0o755)
			h.RemoveFile(previous)
		}
		h.dies = false
		return sha256Of(h.Files()[binary].Data) + "  -\n"
	})
	h.answer("rm -f "+previous, func(string) string { h.RemoveFile(previous); return "" })
}

func TestUpgrade(t *testing.T) {
	h := installControl(t)
	keepsBinaries(h)
	h.Forget()
	in, err := bootstrap.Upgrade(t.Context(), h, binaryOf(t, "v2"), nil)
	if err != nil || in.Version != "v2" || !in.Healthy {
		t.Fatalf("got %+v, %v", in, err)
	}
	golden(t, "upgrade", h.Fake)
	revision := h.revision
	h.Forget()
	if _, err := bootstrap.Upgrade(t.Context(), h, binaryOf(t, "v2"), nil); err != nil {
		t.Fatal(err)
	}
	if got := changes(h.Fake); len(got) > 0 || h.revision != revision {
		t.Errorf("the same version changed %q", got)
	}
	// What the installation of the new version would write is what the upgrade left.
	if _, err := bootstrap.InstallServer(t.Context(), h, testControl, binaryOf(t, "v2"), nil); err != nil {
		t.Fatal(err)
	}
	if got := changes(h.Fake); len(got) > 0 {
		t.Errorf("an installation after the upgrade changed %q", got)
	}
}

func TestUpgradeRollsBack(t *testing.T) {
	h := installControl(t)
	keepsBinaries(h)
	revision := h.revision
	h.answer("ln /usr", func(string) string {
		h.SetFile("/usr/local/bin/.fairlead.previous", "v1", 0o755)
		h.dies = true // what is started from now on
		return ""
	})
	in, err := bootstrap.Upgrade(t.Context(), h, binaryOf(t, "v2"), nil)
	var failed *bootstrap.UpgradeError
	if !errors.As(err, &failed) || !failed.RolledBack || failed.From != "v1" || failed.To != "v2" || !strings.Contains(err.Error(), "no more paper") {
		t.Fatalf("got %v", err)
	}
	if in.Version != "v1" || !in.Healthy || h.revision != revision {
		t.Errorf("got %+v, revision %q", in, h.revision)
	}
}

func TestUpgradeOfNothing(t *testing.T) {
	if _, err := bootstrap.Upgrade(t.Context(), newHost(t, "a", "192.0.2.1"), binaryOf(t, "v2"), nil); err == nil || !strings.Contains(err.Error(), "nothing is installed") {
		t.Errorf("got %v", err)
	}
}

func TestUninstall(t *testing.T) {
	h := installControl(t)
	h.SetFile("/var/lib/fairlead/installed", "package runc\npackage containerd\nfolder /var/log/pods\nruntime-folder /etc/cni\nruntime-content /var/lib/containerd\nservice containerd\n", 0o644)
	h.Forget()
	if err := bootstrap.Uninstall(t.Context(), h, true, nil); err != nil {
		t.Fatal(err)
	}
	golden(t, "uninstall", h.Fake)
	h.Forget()
	if err := bootstrap.Uninstall(t.Context(), h, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, line := range h.Transcript() {
		if strings.Contains(line, "apt purge") || strings.Contains(line, "/etc/cni") {
			t.Errorf("without purge it ran %q", line)
		}
	}
}

func TestUninstallSaysWhatIsLeft(t *testing.T) {
	h := installControl(t)
	h.Fail("fairlead cleanup", 1, "device or resource busy")
	h.Reply("containerd-shim", "mount /var/lib/fairlead/agent/x\nlink fairlead0\n")
	h.Forget()
	err := bootstrap.Uninstall(t.Context(), h, true, nil)
	var left *bootstrap.LeftoverError
	if !errors.As(err, &left) || !slices.Equal(left.Left, []string{"mount /var/lib/fairlead/agent/x", "link fairlead0"}) || !strings.Contains(err.Error(), "busy") {
		t.Fatalf("got %v", err)
	}
	for _, line := range h.Transcript() {
		if strings.Contains(line, "rm -rf") {
			t.Errorf("with mounts below its folders it ran %q", line)
		}
	}
}
