//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

// command refuses: the software of hosts is for Linux. On an operator's own system this program is the provider.
func command([]string) int {
	fmt.Fprintf(os.Stderr, "fairlead: the commands are for Linux hosts; on %s this program is the Terraform provider alone\n", runtime.GOOS)
	return 2
}
