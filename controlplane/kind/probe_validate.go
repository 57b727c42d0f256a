package kind

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type probeUse int

const (
	livenessProbe probeUse = iota
	readinessProbe
	startupProbe
)

func validateProbe(p *corev1.Probe, use probeUse, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateHandler(handler{p.Exec, p.HTTPGet, p.TCPSocket, p.GRPC, nil}, nil, path)
	errs = append(errs, nonNegative(p.InitialDelaySeconds, path.Child("initialDelaySeconds"))...)
	errs = append(errs, nonNegative(p.TimeoutSeconds, path.Child("timeoutSeconds"))...)
	errs = append(errs, nonNegative(p.PeriodSeconds, path.Child("periodSeconds"))...)
	errs = append(errs, nonNegative(p.SuccessThreshold, path.Child("successThreshold"))...)
	errs = append(errs, nonNegative(p.FailureThreshold, path.Child("failureThreshold"))...)
	if g := p.TerminationGracePeriodSeconds; g != nil {
		at := path.Child("terminationGracePeriodSeconds")
		if *g <= 0 {
			errs = append(errs, field.Invalid(at, *g, "must be greater than 0"))
		}
		if use == readinessProbe {
			errs = append(errs, field.Invalid(at, *g, "must not be set for readinessProbes"))
		}
	}
	if use != readinessProbe && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

// handler is what probes and lifecycle hooks can do.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func validateHandler(h handler, gracePeriod *int64, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	n := 0
	// each further handler is one too many, and is refused where it stands
	first := func(name string) bool {
		if n++; n > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
		}
		return n == 1
	}
	if h.exec != nil && first("exec") && len(h.exec.Command) == 0 {
		errs = append(errs, field.Required(path.Child("exec", "command"), ""))
	}
	if h.http != nil && first("httpGet") {
		errs = append(errs, validateHTTPGet(h.http, path.Child("httpGet"))...)
	}
	if h.tcp != nil && first("tcpSocket") {
		errs = append(errs, validatePortRef(h.tcp.Port, path.Child("tcpSocket", "port"))...)
	}
	if h.grpc != nil && first("grpc") {
		errs = append(errs, validatePortRef(intstr.FromInt32(h.grpc.Port), path.Child("grpc", "port"))...)
	}
	if h.sleep != nil && first("sleep") {
		if s := h.sleep.Seconds; gracePeriod != nil && (s < 0 || s > *gracePeriod) {
			errs = append(errs, field.Invalid(path.Child("sleep"), s,
				fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *gracePeriod)))
		}
	}
	if n == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(h *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, validatePortRef(h.Port, path.Child("port"))...)
	errs = append(errs, supported(h.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range h.HTTPHeaders {
		errs = append(errs, invalidEach(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

// validatePortRef accepts a port's number or its name.
func validatePortRef(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return invalidEach(path, p.IntValue(), validation.IsValidPortNum(p.IntValue()))
	}
	return invalidEach(path, p.StrVal, validation.IsValidPortName(p.StrVal))
}

func validateLifecycle(l *corev1.Lifecycle, scope *containerScope, path *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	if h := l.PostStart; h != nil {
		errs = append(errs, validateHandler(handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}, scope.gracePeriod, path.Child("postStart"))...)
	}
	if h := l.PreStop; h != nil {
		errs = append(errs, validateHandler(handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}, scope.gracePeriod, path.Child("preStop"))...)
	}
	return errs
}

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

// knownSignal says whether the system that a pod is for has a signal.
func knownSignal(signal corev1.Signal, os *corev1.PodOS) bool {
	if os != nil && os.Name == corev1.Windows {
		return slices.Contains(windowsSignals, signal)
	}
	_, ok := slices.BinarySearch(linuxSignals, signal)
	return ok
}
