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
		{"chroot", building, "apt-get", "-qy", "--no-install-recommends", "--download-only", "install", strings.Join(cached, " ")},
	} {
		if args[0] == "chroot" {
			args = append(args[:len(args)-1], strings.Fields(args[len(args)-1])...)
		}
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
