package supervise

import "syscall"

// processGroup gives a command a process group of its own, and has it end when the supervisor is killed.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
