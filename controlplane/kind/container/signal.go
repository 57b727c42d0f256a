package container

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

var windowsSignals = []corev1.Signal{corev1.SIGKILL, corev1.SIGTERM}

// linuxSignals are sorted, to be looked up.
var linuxSignals = func() []corev1.Signal {
	all := []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE, corev1.SIGHUP,
		corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE, corev1.SIGPOLL, corev1.SIGPROF,
		corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP,
		corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM, corev1.SIGWINCH,
		corev1.SIGXCPU, corev1.SIGXFSZ, corev1.SIGRTMIN, corev1.SIGRTMAX,
	}
	for i := 1; i <= 15; i++ {
		all = append(all, corev1.Signal(fmt.Sprintf("SIGRTMIN+%d", i)))
	}
	for i := 1; i <= 14; i++ {
		all = append(all, corev1.Signal(fmt.Sprintf("SIGRTMAX-%d", i)))
	}
	slices.Sort(all)
	return all
}()

// KnownSignal says whether the system that a pod is for has a signal.
func KnownSignal(signal corev1.Signal, os *corev1.PodOS) bool {
	if os != nil && os.Name == corev1.Windows {
		return slices.Contains(windowsSignals, signal)
	}
	_, ok := slices.BinarySearch(linuxSignals, signal)
	return ok
}
