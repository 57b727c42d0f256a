package node

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/hostfile"
)

// host is what the status says of the machine; what can not be read stays zero.
type host struct {
	machineID, systemUUID, bootID string
	kernel, osImage               string
}

func readHost() host {
	var h host
	h.machineID = hostfile.Line("/etc/machine-id")
	h.bootID = hostfile.Line("/proc/sys/kernel/random/boot_id")
	h.systemUUID = hostfile.Line("/sys/class/dmi/id/product_uuid")
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
