package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// cgroups knows where the host's hierarchies are. With version 2 there is one, under the name "".
type cgroups struct {
	root string // of all pods, as a path inside each hierarchy
	v2   bool
	dirs map[string]string // controller -> mount point
}

// findCgroups reads which version the host uses. A host with both (hybrid) has its controllers in version 1.
func findCgroups(root string) (*cgroups, error) {
	c := &cgroups{root: path.Join("/", root), dirs: map[string]string{}}
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil {
		return nil, fmt.Errorf("cannot find cgroups: %w", err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		c.v2 = true
		c.dirs[""] = "/sys/fs/cgroup"
		return c, nil
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find cgroups: %w", err)
	}
	for line := range bytes.Lines(data) {
		before, after, ok := strings.Cut(string(line), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(super) < 3 {
			continue
		}
		if super[0] == "cgroup2" { // without controllers, but runc makes its directories there too
			c.dirs["unified"] = fields[4]
		}
		if super[0] != "cgroup" {
			continue
		}
		for _, opt := range strings.Split(super[2], ",") {
			c.dirs[opt] = fields[4]
		}
	}
	if c.dirs["memory"] == "" || c.dirs["cpu"] == "" {
		return nil, errors.New("cannot find cgroups: neither version 2 nor version 1 with cpu and memory is mounted")
	}
	return c, nil
}

func (c *cgroups) pod(uid types.UID) string { return path.Join(c.root, "pod"+string(uid)) }

// PodResources limits a pod as a whole; zero means no limit.
type PodResources struct {
	CPUMillis      int64 // requested: the pod's share against other pods
	CPULimitMillis int64
	MemoryLimit    int64 // bytes
}

// SetPodResources makes the pod's cgroup with these limits, so that pods share the processor by what they asked for
// and a pod's containers together stay within the sum of their limits.
func (r *Runtime) SetPodResources(uid types.UID, res PodResources) error {
	c := r.cgroup
	if c.v2 {
		return c.setPodV2(uid, res)
	}
	cpu := filepath.Join(c.dirs["cpu"], c.pod(uid))
	mem := filepath.Join(c.dirs["memory"], c.pod(uid))
	for _, dir := range []string{cpu, mem} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make cgroup: %w", err)
		}
	}
	if err := writeCgroup(cpu, "cpu.shares", shares(res.CPUMillis)); err != nil {
		return err
	}
	if res.CPULimitMillis > 0 {
		if err := writeCgroup(cpu, "cpu.cfs_period_us", cpuPeriod); err != nil {
			return err
		}
		if err := writeCgroup(cpu, "cpu.cfs_quota_us", quota(res.CPULimitMillis)); err != nil {
			return err
		}
	}
	if res.MemoryLimit > 0 {
		return writeCgroup(mem, "memory.limit_in_bytes", res.MemoryLimit)
	}
	return nil
}

func (c *cgroups) setPodV2(uid types.UID, res PodResources) error {
	dir := c.dirs[""]
	for _, part := range strings.Split(strings.TrimPrefix(c.pod(uid), "/"), "/") {
		enableControllers(dir)
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot make cgroup: %w", err)
		}
	}
	enableControllers(dir)
	if err := writeCgroup(dir, "cpu.weight", weight(shares(res.CPUMillis))); err != nil {
		return err
	}
	if res.CPULimitMillis > 0 {
		value := fmt.Sprintf("%d %d", quota(res.CPULimitMillis), cpuPeriod)
		if err := os.WriteFile(filepath.Join(dir, "cpu.max"), []byte(value), 0); err != nil {
			return fmt.Errorf("cannot limit cgroup: %w", err)
		}
	}
	if res.MemoryLimit > 0 {
		return writeCgroup(dir, "memory.max", res.MemoryLimit)
	}
	return nil
}

// enableControllers hands down the controllers that there are; one that is in use elsewhere is left out, and shows as an
// error when a limit needs it.
func enableControllers(dir string) {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, name := range strings.Fields(string(have)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
	}
}

func writeCgroup(dir, file string, value int64) error {
	err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(value, 10)), 0)
	if err != nil {
		return fmt.Errorf("cannot limit cgroup: %w", err)
	}
	return nil
}

// cpuPeriod is the scheduling period in microseconds over which a quota is counted.
const cpuPeriod = 100_000

// shares converts thousandths of a processor to cpu.shares, 1024 being one processor.
func shares(milli int64) int64 { return min(max(milli*1024/1000, 2), 262144) }

// quota converts thousandths of a processor to microseconds a period; the kernel takes no less than 1 ms.
func quota(milli int64) int64 { return max(milli*cpuPeriod/1000, 1000) }

// weight converts cpu.shares (2..262144) to version 2's cpu.weight (1..10000).
func weight(shares int64) int64 { return 1 + (shares-2)*9999/262142 }

// oomKills counts processes of the cgroup that the kernel killed for memory. The cgroup must still be there.
func (c *cgroups) oomKills(cgroup string) int64 {
	file := filepath.Join(c.dirs[""], cgroup, "memory.events")
	if !c.v2 {
		file = filepath.Join(c.dirs["memory"], cgroup, "memory.oom_control")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "oom_kill "); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// RemovePodResources removes the pod's cgroups in every hierarchy, children first. It is idempotent. Processes that are
// left inside keep their cgroup and make it fail.
func (r *Runtime) RemovePodResources(uid types.UID) error {
	return r.cgroup.remove(r.cgroup.pod(uid))
}

// RemoveAllResources removes the cgroup of all pods; it fails while one is in use.
func (r *Runtime) RemoveAllResources() error { return r.cgroup.remove(r.cgroup.root) }

func (c *cgroups) remove(cgroup string) error {
	var errs []error
	for _, mount := range c.dirs {
		errs = append(errs, removeTree(filepath.Join(mount, cgroup)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove cgroup %s: %w", cgroup, err)
	}
	return nil
}

// removeTree removes a directory of directories; the files in a cgroup are not removed one by one.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// canLimitSwap says whether the kernel counts swap; where it does not, a limit would be refused.
func (c *cgroups) canLimitSwap(uid types.UID) bool {
	file := filepath.Join(c.dirs[""], c.pod(uid), "memory.swap.max")
	if !c.v2 {
		file = filepath.Join(c.dirs["memory"], "memory.memsw.limit_in_bytes")
	}
	_, err := os.Stat(file)
	return err == nil
}
