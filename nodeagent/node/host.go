package node

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// host is what the status says of the machine; what can not be read stays zero.
type host struct {
	memoryTotal, memoryAvailable  int64 // bytes
	diskTotal, diskFree           int64 // bytes, of the data directory's file system
	pids, pidMax                  int64
	machineID, systemUUID, bootID string
	kernel, osImage               string
}

func readHost(dataDir string) host {
	var h host
	mem := readMeminfo()
	h.memoryTotal, h.memoryAvailable = mem["MemTotal"], mem["MemAvailable"]
	var fs unix.Statfs_t
	if unix.Statfs(dataDir, &fs) == nil {
		h.diskTotal, h.diskFree = int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	}
	h.pidMax, _ = strconv.ParseInt(readLine("/proc/sys/kernel/pid_max"), 10, 64)
	// The fourth field of loadavg is RUNNING/TOTAL.
	if f := strings.Fields(readLine("/proc/loadavg")); len(f) > 3 {
		_, total, _ := strings.Cut(f[3], "/")
		h.pids, _ = strconv.ParseInt(total, 10, 64)
	}
	h.machineID = readLine("/etc/machine-id")
	h.bootID = readLine("/proc/sys/kernel/random/boot_id")
	h.systemUUID = readLine("/sys/class/dmi/id/product_uuid")
	if h.systemUUID == "" {
		h.systemUUID = h.machineID
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.kernel = unix.ByteSliceToString(u.Release[:])
	}
	h.osImage = osImage()
	return h
}

func readMeminfo() map[string]int64 {
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

func readLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

func osImage() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "unknown"
}
