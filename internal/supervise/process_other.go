//go:build !linux

package supervise

import "syscall"

// processGroup gives a command a process group of its own. Hosts run Linux: elsewhere nothing depends on the command
// ending with its supervisor.
func processGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
