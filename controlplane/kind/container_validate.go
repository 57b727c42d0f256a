package kind

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// eachContainer calls f with every container of a pod, in the order in which they start, and its path.
func eachContainer(s *corev1.PodSpec, path *field.Path, f func(c *corev1.Container, at *field.Path)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f(ephemeral(&s.EphemeralContainers[i]), path.Child("ephemeralContainers").Index(i))
	}
}

// ephemeral returns what an ephemeral container has in common with others; the two types have the same fields in the same order.
func ephemeral(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

func hasContainer(s *corev1.PodSpec, name string) bool {
	found := false
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) { found = found || c.Name == name })
	return found
}

// containerScope is what a pod's containers are checked against.
type containerScope struct {
	exempt      containerExempt
	volumes     map[string]*corev1.VolumeSource // those without fault
	claims      map[string]bool                 // resource claims
	gracePeriod *int64
	hostUsers   bool
	restart     corev1.RestartPolicy
}

func validateContainers(s *corev1.PodSpec, scope *containerScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("containers")
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	names := make(map[string]bool, len(s.Containers)+len(s.InitContainers))
	unique := func(name string, at *field.Path) {
		if names[name] {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		names[name] = true
	}
	for i := range s.Containers {
		c, at := &s.Containers[i], at.Index(i)
		errs = append(errs, validateContainer(c, scope, at)...)
		unique(c.Name, at)
		errs = append(errs, validateRunning(c, scope, at)...)
		errs = append(errs, validateRestart(c, at)...)
	}
	errs = append(errs, hostPortConflicts(s.Containers, at)...)
	at = path.Child("initContainers")
	for i := range s.InitContainers {
		c, each := &s.InitContainers[i], at.Index(i)
		errs = append(errs, validateContainer(c, scope, each)...)
		if c.RestartPolicy != nil || len(c.RestartPolicyRules) == 0 {
			errs = append(errs, validateRestart(c, each)...)
		} else {
			errs = append(errs, rulesNeedPolicy(each))
		}
		if c.Name != "" || names[""] {
			unique(c.Name, each)
		}
		errs = append(errs, hostPortConflicts(s.InitContainers[i:i+1], at)...)
		if isSidecar(c) {
			errs = append(errs, validateRunning(c, scope, each)...)
		} else {
			errs = append(errs, forbidRunning(c, scope, each)...)
		}
	}
	at = path.Child("ephemeralContainers")
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], at.Index(i)
		c := ephemeral(e)
		errs = append(errs, validateContainer(c, scope, at)...)
		errs = append(errs, trimmedImage(c.Image, at)...)
		unique(c.Name, at)
		errs = append(errs, validateEphemeral(e, s, at)...)
	}
	return errs
}

// validateContainer checks what containers of every sort have.
func validateContainer(c *corev1.Container, scope *containerScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		errs = append(errs, dnsLabel(c.Name, path.Child("name"))...)
	}
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	}
	errs = append(errs, oneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validatePorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c, scope, path.Child("volumeMounts"))...)
	errs = append(errs, validateDevices(c, scope, path.Child("volumeDevices"))...)
	errs = append(errs, validatePullPolicy(c.ImagePullPolicy, path.Child("imagePullPolicy"))...)
	errs = append(errs, validateResources(&c.Resources, scope, validateContainerResource, path.Child("resources"))...)
	errs = append(errs, validateResizePolicy(c.ResizePolicy, scope, path.Child("resizePolicy"))...)
	return append(errs, validateSecurityContext(c.SecurityContext, scope, path.Child("securityContext"))...)
}

func validatePullPolicy(p corev1.PullPolicy, path *field.Path) field.ErrorList {
	return oneOf(p, path, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// trimmedImage refuses space around an image. Templates may have it: something else may put an image in its place.
func trimmedImage(image string, path *field.Path) field.ErrorList {
	if strings.TrimSpace(image) != image {
		return field.ErrorList{field.Invalid(path.Child("image"), image, "must not have leading or trailing whitespace")}
	}
	return nil
}

// Bounds of the rules by which a container restarts.
const (
	maxRestartRules = 20
	maxExitCodes    = 255 // also of the rules for pods that fail
)

func validateRestart(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case c.RestartPolicy == nil && len(c.RestartPolicyRules) > 0:
		errs = append(errs, rulesNeedPolicy(path))
	case c.RestartPolicy != nil:
		errs = append(errs, supported(*c.RestartPolicy, path.Child("restartPolicy"),
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	if len(c.RestartPolicyRules) > maxRestartRules {
		errs = append(errs, field.TooMany(path.Child("restartPolicyRules"), len(c.RestartPolicyRules), maxRestartRules))
	}
	for i := range c.RestartPolicyRules {
		rule, at := &c.RestartPolicyRules[i], path.Child("restartPolicyRules").Index(i)
		errs = append(errs, supported(rule.Action, at.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if at = at.Child("exitCodes"); rule.ExitCodes == nil {
			errs = append(errs, field.Required(at, "must be specified"))
			continue
		}
		errs = append(errs, supported(rule.ExitCodes.Operator, at.Child("operator"),
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if len(rule.ExitCodes.Values) > maxExitCodes {
			errs = append(errs, field.TooMany(at.Child("values"), len(rule.ExitCodes.Values), maxExitCodes))
		}
	}
	return errs
}

func rulesNeedPolicy(path *field.Path) *field.Error {
	return field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
}

// validateRunning checks what only containers have that run as long as the pod does.
func validateRunning(c *corev1.Container, scope *containerScope, path *field.Path) field.ErrorList {
	errs := validateLifecycle(c.Lifecycle, scope, path.Child("lifecycle"))
	errs = append(errs, validateProbe(c.LivenessProbe, livenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, readinessProbe, path.Child("readinessProbe"))...)
	return append(errs, validateProbe(c.StartupProbe, startupProbe, path.Child("startupProbe"))...)
}

// forbidRunning refuses on init containers what only makes sense for containers that run on.
func forbidRunning(c *corev1.Container, scope *containerScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	forbid := func(name string, set bool) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	forbid("lifecycle", c.Lifecycle != nil)
	forbid("livenessProbe", c.LivenessProbe != nil)
	forbid("readinessProbe", c.ReadinessProbe != nil)
	forbid("startupProbe", c.StartupProbe != nil)
	for i, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer && !scope.exempt.initResize {
			errs = append(errs, field.Invalid(path.Child("resizePolicy").Index(i).Child("restartPolicy"), p.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers"))
		}
	}
	return errs
}

// validateEphemeral refuses on ephemeral containers what a pod could come to rely on.
func validateEphemeral(e *corev1.EphemeralContainer, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name := e.TargetContainerName; name != "" {
		found := false
		for _, target := range allContainers(s) {
			found = found || target.Name == name
		}
		if !found {
			errs = append(errs, field.NotFound(path.Child("targetContainerName"), name))
		}
	}
	forbid := func(at *field.Path, set bool) {
		if set {
			errs = append(errs, field.Forbidden(at, "cannot be set for an Ephemeral Container"))
		}
	}
	forbid(path.Child("ports"), e.Ports != nil)
	forbid(path.Child("resources"), e.Resources.Limits != nil || e.Resources.Requests != nil || e.Resources.Claims != nil)
	forbid(path.Child("resizePolicy"), e.ResizePolicy != nil)
	forbid(path.Child("restartPolicy"), e.RestartPolicy != nil)
	forbid(path.Child("restartPolicyRules"), e.RestartPolicyRules != nil)
	forbid(path.Child("livenessProbe"), e.LivenessProbe != nil)
	forbid(path.Child("readinessProbe"), e.ReadinessProbe != nil)
	forbid(path.Child("startupProbe"), e.StartupProbe != nil)
	forbid(path.Child("lifecycle"), e.Lifecycle != nil)
	for i, m := range e.VolumeMounts {
		at := path.Child("volumeMounts").Index(i)
		forbid(at.Child("subPath"), m.SubPath != "")
		forbid(at.Child("subPathExpr"), m.SubPathExpr != "")
	}
	return errs
}

func validatePorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if messages := validation.IsValidPortName(p.Name); len(messages) > 0 {
				errs = append(errs, invalidEach(at.Child("name"), p.Name, messages)...)
			} else if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names[p.Name] = true
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, invalidEach(at.Child("containerPort"), p.ContainerPort, validation.IsValidPortNum(int(p.ContainerPort)))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, invalidEach(at.Child("hostPort"), p.HostPort, validation.IsValidPortNum(int(p.HostPort)))...)
		}
		errs = append(errs, validateProtocol(p.Protocol, at.Child("protocol"))...)
	}
	return errs
}

func hostPortConflicts(containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range containers {
		for j, p := range containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			if seen[key] {
				errs = append(errs, field.Duplicate(path.Index(i).Child("ports").Index(j).Child("hostPort"), key))
			}
			seen[key] = true
		}
	}
	return errs
}

func validateResizePolicy(policies []corev1.ContainerResizePolicy, scope *containerScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.ResourceName]bool{}
	for i, p := range policies {
		if seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, oneOf(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
		if scope.restart == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}
