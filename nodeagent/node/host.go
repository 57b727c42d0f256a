package node

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// host is what the status says of the machine; what can not be read stays zero.
type host struct {
	machineID, systemUUID, bootID string
	kernel, osImage               string
}

func readHost() host {
	var h host
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
