package sshtest

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// User is an account that is not root, for the length of a test.
type User struct {
	Name string
	UID  int
	GID  int
}

// NewUser makes the account, or takes over one that a test that died left.
func NewUser(t testing.TB, name string) *User {
	t.Helper()
	var unknown user.UnknownUserError
	if _, err := user.Lookup(name); errors.As(err, &unknown) {
		// "*" is no password and, other than "!", no lock: sshd lets keys in.
		if out, err := exec.Command("useradd", "-M", "-d", "/", "-s", "/bin/sh", "-p", "*", name).CombinedOutput(); err != nil {
			t.Fatalf("cannot add user %s: %v: %s", name, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("userdel", "-f", name).CombinedOutput(); err != nil {
			t.Errorf("cannot remove user %s: %v: %s", name, err, out)
		}
	})
	u, err := user.Lookup(name)
	must(t, err)
	uid, err := strconv.Atoi(u.Uid)
	must(t, err)
	gid, err := strconv.Atoi(u.Gid)
	must(t, err)
	return &User{name, uid, gid}
}

// fakeSudo becomes root and runs what follows "-n --". It stands in for sudo, which tests cannot assume.
const fakeSudo = `package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

func main() {
	if len(os.Args) < 4 || os.Args[1] != "-n" || os.Args[2] != "--" {
		fmt.Fprintln(os.Stderr, "sudo: unexpected arguments", os.Args[1:])
		os.Exit(1)
	}
	path, err := exec.LookPath(os.Args[3])
	if err == nil {
		err = syscall.Setgid(0)
	}
	if err == nil {
		err = syscall.Setuid(0)
	}
	if err == nil {
		err = syscall.Exec(path, os.Args[3:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "sudo:", err)
	os.Exit(1)
}
`

// SudoDir returns a folder with a program "sudo" that makes root of this user and of nobody else; it goes with
// the test. Put it into the server's path with "SetEnv PATH=".
func (u *User) SudoDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fairlead-sudo-*")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	source := filepath.Join(t.TempDir(), "main.go")
	must(t, os.WriteFile(source, []byte(fakeSudo), 0o600))
	binary := filepath.Join(dir, "sudo")
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("cannot build the stand-in for sudo: %v: %s", err, out)
	}
	must(t, os.Chown(binary, 0, u.GID))
	must(t, os.Chmod(binary, 0o750|os.ModeSetuid))
	must(t, os.Chown(dir, 0, u.GID))
	must(t, os.Chmod(dir, 0o750))
	return dir
}
