package pressure

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/hostfile"
)

// Observation is how much there is of something.
type Observation struct {
	Available, Capacity int64 // bytes or pieces
}

// observe measures the host. What cannot be read, or what a file system does not count, is left out.
//
// Memory is what the kernel itself takes to be available (MemAvailable), on every version of cgroups. A kubelet takes
// the capacity without the root cgroup's working set: what was read from files and used twice counts as used there, though the
// kernel drops it when it has to, so that a node which reads much evicts pods without need; and as the root cgroup
// has no figure of its own in version 2, it is put together from the same file anyway. Of a pod that is to be ranked, the
// working set is taken.
func observe(nodeFS, imageFS string) map[eviction.Signal]Observation {
	out := map[eviction.Signal]Observation{}
	mem := meminfo()
	if mem["MemTotal"] > 0 {
		out[eviction.MemoryAvailable] = Observation{mem["MemAvailable"], mem["MemTotal"]}
	}
	observeFS(out, nodeFS, eviction.NodeFSAvailable, eviction.NodeFSInodesFree)
	observeFS(out, imageFS, eviction.ImageFSAvailable, eviction.ImageFSInodesFree)
	// The fourth field of loadavg is RUNNING/TOTAL, in threads, each of which takes an id.
	if f := strings.Fields(hostfile.Line("/proc/loadavg")); len(f) > 3 {
		_, total, _ := strings.Cut(f[3], "/")
		used, err := strconv.ParseInt(total, 10, 64)
		ids, err2 := hostfile.Number("/proc/sys/kernel/pid_max")
		threads, err3 := hostfile.Number("/proc/sys/kernel/threads-max")
		if most := min(ids, threads); errors.Join(err, err2, err3) == nil && most > 0 {
			out[eviction.PIDAvailable] = Observation{most - used, most}
		}
	}
	return out
}

func observeFS(out map[eviction.Signal]Observation, path string, space, inodes eviction.Signal) {
	var st unix.Statfs_t
	if path == "" || unix.Statfs(path, &st) != nil {
		return
	}
	out[space] = Observation{int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize}
	if st.Files > 0 {
		out[inodes] = Observation{int64(st.Ffree), int64(st.Files)}
	}
}

// meminfo is /proc/meminfo in bytes.
func meminfo() map[string]int64 {
	out := map[string]int64{}
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return out
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		name, rest, _ := strings.Cut(s.Text(), ":")
		if f := strings.Fields(rest); len(f) > 0 {
			kib, _ := strconv.ParseInt(f[0], 10, 64)
			out[name] = kib << 10
		}
	}
	return out
}
