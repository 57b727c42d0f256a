// Package machine makes the machines that acceptance tests run on: Debian with systemd, sshd, its own address
// and its own containerd, booted by systemd-nspawn in about two seconds, or by QEMU where another kernel is
// needed. Everything is made below one directory and removed with it.
package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// packages are what a freshly rented Debian server has. The container runtime is not among them: installing it
// is what is tested; its packages lie in the tree's package cache, so that no machine downloads them again.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "openssh-server", "iproute2", "procps", "ca-certificates", "kmod", "iputils-ping",
	"curl", "sudo", "netbase", "ifupdown",
}

// cached are the packages that tests install on machines.
var cached = []string{"containerd", "runc", "nftables", "conntrack"}

// Tree returns a Debian tree below cacheDir, made by debootstrap when it is not there (about a minute). It is
// the lower layer of every machine and never written to.
func Tree(ctx context.Context, cacheDir string) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(packages, ",") + ";" + strings.Join(cached, ",")))
	tree := filepath.Join(cacheDir, "debian-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make machine tree: %w", err)
	}
	building, err := os.MkdirTemp(cacheDir, "building-")
	if err != nil {
		return "", fmt.Errorf("cannot make machine tree: %w", err)
	}
	defer os.RemoveAll(building)
	for _, args := range [][]string{
		{"debootstrap", "--variant=minbase", "--include=" + strings.Join(packages, ","), "bookworm", building},
		{"chroot", building, "apt-get", "-q", "update"},
		append([]string{"chroot", building, "apt-get", "-qy", "--no-install-recommends", "--download-only", "install"}, cached...),
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot make machine tree: %s: %w\n%s", strings.Join(args, " "), err, tail(out))
		}
	}
	if err := os.Chmod(building, 0o755); err != nil {
		return "", fmt.Errorf("cannot make machine tree: %w", err)
	}
	if err := os.Rename(building, tree); err != nil {
		return "", fmt.Errorf("cannot make machine tree: %w", err)
	}
	return tree, nil
}

// layer returns a directory beside tree that, laid over it, has what a command changes in it, such as the installation of
// packages. It is made when it is not there, and never written to afterwards.
func layer(ctx context.Context, tree, name string, command ...string) (string, error) {
	dir := tree + "-" + name
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	building, err := os.MkdirTemp(filepath.Dir(tree), "building-")
	if err != nil {
		return "", fmt.Errorf("cannot make layer %s: %w", name, err)
	}
	defer os.RemoveAll(building)
	upper, work, root := filepath.Join(building, "upper"), filepath.Join(building, "work"), filepath.Join(building, "root")
	for _, d := range []string{upper, work, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return "", fmt.Errorf("cannot make layer %s: %w", name, err)
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", tree, upper, work)); err != nil {
		return "", fmt.Errorf("cannot mount layer %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, "chroot", append([]string{root}, command...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if e := unix.Unmount(root, unix.MNT_DETACH); err == nil {
		err = e
	}
	if err != nil {
		return "", fmt.Errorf("cannot make layer %s: %w\n%s", name, err, tail(out))
	}
	if err := os.Rename(upper, dir); err != nil {
		return "", fmt.Errorf("cannot make layer %s: %w", name, err)
	}
	return dir, nil
}

func tail(out []byte) string {
	const most = 2000
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return string(out)
}

// CacheDir is where trees are kept between runs: FAIRLEAD_ACCTEST_CACHE, or a directory below /var/cache.
func CacheDir() string {
	if d := os.Getenv("FAIRLEAD_ACCTEST_CACHE"); d != "" {
		return d
	}
	return "/var/cache/fairlead-acctest"
}
