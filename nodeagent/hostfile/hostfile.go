// Package hostfile reads the small files by which the kernel and the system tell of a host.
package hostfile

import (
	"os"
	"strconv"
	"strings"
)

// Line returns the first line of a file without the space around it; nothing when it cannot be read.
func Line(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// Number returns the decimal number that is all of a file.
func Number(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}
