package provider

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// runClaims has the hosts that are planned by all instances of the provider in one run of Terraform: each provider block
// with an alias is a process of its own, and they have their parent in common. A claim is a file in a folder of that
// parent's number, and lasts as long as one of the processes does. It is safe for concurrent use.
type runClaims struct {
	dir      string
	instance string // of this process
	// alive is locked, shared, for as long as the process lives: who can lock it alone is the first of a run, and what
	// else is in the folder is of an earlier one.
	alive *os.File
}

// sharedClaim is what a claim's file says.
type sharedClaim struct{ Instance, Mark, Kind string }

const (
	runPrefix = "run-"
	aliveFile = "alive"
)

// ofThisRun opens the claims of the run that this process is part of, once.
var ofThisRun = sync.OnceValues(func() (*runClaims, error) {
	return openRunClaims(filepath.Join(os.TempDir(), programPrefix+"-"+strconv.Itoa(os.Getuid())), os.Getppid())
})

// openRunClaims opens the claims of the run whose Terraform is process parent, below dir.
func openRunClaims(dir string, parent int) (_ *runClaims, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot share claims of hosts: %w", err)
		}
	}()
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	removeEndedRuns(dir)
	r := &runClaims{dir: filepath.Join(dir, runPrefix+strconv.Itoa(parent)), instance: rand.Text()}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	if r.alive, err = os.OpenFile(filepath.Join(r.dir, aliveFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.alive.Close()
		}
	}()
	switch err := unix.Flock(int(r.alive.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		if err := r.clear(); err != nil {
			return nil, err
		}
	case !errors.Is(err, unix.EWOULDBLOCK):
		return nil, err
	}
	return r, unix.Flock(int(r.alive.Fd()), unix.LOCK_SH)
}

// privateDir makes the folder, in one that anybody may write into, and wants it to be nobody else's.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var s unix.Stat_t
	if err := unix.Lstat(dir, &s); err != nil {
		return fmt.Errorf("cannot look at %s: %w", dir, err)
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR || int(s.Uid) != os.Getuid() || s.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a folder of this user alone", dir)
	}
	return nil
}

// clear removes the claims of an earlier run, whose Terraform had the same number.
func (r *runClaims) clear() error {
	entries, err := os.ReadDir(r.dir)
	for _, e := range entries {
		if e.Name() != aliveFile {
			err = errors.Join(err, os.Remove(filepath.Join(r.dir, e.Name())))
		}
	}
	return err
}

// removeEndedRuns removes what runs have left whose Terraform is not there any more; what can not be removed harms nobody.
func removeEndedRuns(dir string) {
	runs, _ := filepath.Glob(filepath.Join(dir, runPrefix+"*"))
	for _, run := range runs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(run), runPrefix))
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = os.RemoveAll(run)
		}
	}
}

// claim notes the host for a resource. It returns the claim of another instance's resource when that has the host.
func (r *runClaims) claim(key string, c claim) (*sharedClaim, error) {
	sum := sha256.Sum256([]byte(key))
	name := filepath.Join(r.dir, hex.EncodeToString(sum[:]))
	content, err := json.Marshal(sharedClaim{r.instance, c.mark, c.kind})
	if err != nil {
		return nil, err
	}
	// Written first, so that whoever finds it can read it.
	temp, err := os.CreateTemp(r.dir, "claim-")
	if err != nil {
		return nil, fmt.Errorf("cannot claim host %s: %w", key, err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Close()); err != nil {
		return nil, fmt.Errorf("cannot claim host %s: %w", key, err)
	}
	if err = os.Link(temp.Name(), name); err == nil {
		return nil, nil
	}
	var has sharedClaim
	if errors.Is(err, fs.ErrExist) {
		if content, err = os.ReadFile(name); err == nil {
			err = json.Unmarshal(content, &has)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot claim host %s: %w", key, err)
	}
	if has.Instance == r.instance || has.Mark == c.mark {
		return nil, nil
	}
	return &has, nil
}

// close lets the process have no part in the run any more.
func (r *runClaims) close() error { return r.alive.Close() }
