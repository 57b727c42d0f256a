package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupScript puts itself into a cgroup of its own in every hierarchy and becomes the command behind the name:
// the machine's cgroup namespace is rooted there, so that machines do not see each other's cgroups, as they
// would not on hosts of their own.
const cgroupScript = `set -e
for h in /sys/fs/cgroup/*/; do
	[ -e "$h/cgroup.procs" ] || continue
	mkdir -p "$h/acctest-$1"
	if [ -e "$h/cpuset.cpus" ]; then
		cat "$h/cpuset.cpus" > "$h/acctest-$1/cpuset.cpus"
		cat "$h/cpuset.mems" > "$h/acctest-$1/cpuset.mems"
		echo 1 > "$h/acctest-$1/cgroup.clone_children"
	fi
	echo $$ > "$h/acctest-$1/cgroup.procs"
done
shift
exec "$@"
`

// withCgroups is the command line that runs args in cgroups of the machine's own.
func withCgroups(machine string, args ...string) []string {
	return slices.Concat([]string{"/bin/sh", "-c", cgroupScript, "sh", machine}, args)
}

// cgroupTimeout bounds the wait for processes that have been killed to be gone from their cgroups.
const cgroupTimeout = 5 * time.Second

// removeCgroups removes a machine's cgroups, as a power cut does; its processes have been killed.
func removeCgroups(machine string) error {
	end := time.Now().Add(cgroupTimeout)
	for {
		err := tryRemoveCgroups(machine)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
		// The kernel tells nobody when a cgroup of version 1 becomes empty.
		time.Sleep(10 * time.Millisecond)
	}
}

func tryRemoveCgroups(machine string) error {
	hierarchies, err := os.ReadDir(cgroupMount)
	if err != nil {
		return fmt.Errorf("cannot remove cgroups of machine %s: %w", machine, err)
	}
	var errs []error
	for _, h := range hierarchies {
		errs = append(errs, removeCgroup(filepath.Join(cgroupMount, h.Name(), "acctest-"+machine)))
	}
	return errors.Join(errs...)
}

func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs)
	errs := []error{err}
	for _, d := range dirs {
		errs = append(errs, unix.Rmdir(d))
	}
	return errors.Join(errs...)
}
