package container

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
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
	errs = append(errs, validate.NonNegative(p.InitialDelaySeconds, path.Child("initialDelaySeconds"))...)
	errs = append(errs, validate.NonNegative(p.TimeoutSeconds, path.Child("timeoutSeconds"))...)
	errs = append(errs, validate.NonNegative(p.PeriodSeconds, path.Child("periodSeconds"))...)
	errs = append(errs, validate.NonNegative(p.SuccessThreshold, path.Child("successThreshold"))...)
	errs = append(errs, validate.NonNegative(p.FailureThreshold, path.Child("failureThreshold"))...)
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
		errs = append(errs, validate.PortRef(h.tcp.Port, path.Child("tcpSocket", "port"))...)
	}
	if h.grpc != nil && first("grpc") {
		errs = append(errs, validate.PortRef(intstr.FromInt32(h.grpc.Port), path.Child("grpc", "port"))...)
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
	errs = append(errs, validate.PortRef(h.Port, path.Child("port"))...)
	errs = append(errs, validate.Supported(h.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range h.HTTPHeaders {
		errs = append(errs, validate.Each(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

func validateLifecycle(l *corev1.Lifecycle, scope *Scope, path *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	if h := l.PostStart; h != nil {
		errs = append(errs, validateHandler(handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}, scope.GracePeriod, path.Child("postStart"))...)
	}
	if h := l.PreStop; h != nil {
		errs = append(errs, validateHandler(handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}, scope.GracePeriod, path.Child("preStop"))...)
	}
	return errs
}
