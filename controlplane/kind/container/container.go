// Package container sets the defaults of one container of a pod and checks it: image, ports, environment, mounts, probes,
// hooks, resources and security. What a container is checked against of its pod is in Scope. Rules about the pod as a whole
// are in package podspec.
package container

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// Scope is what a pod's containers are checked against.
type Scope struct {
	Exempt      Exempt
	Volumes     map[string]*corev1.VolumeSource // those without fault
	Claims      map[string]bool                 // resource claims
	GracePeriod *int64
	HostUsers   bool
	Restart     corev1.RestartPolicy
}

// ValidateAll checks the containers of a pod of every sort; path is that of the specification.
func ValidateAll(s *corev1.PodSpec, scope *Scope, path *field.Path) field.ErrorList {
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
		errs = append(errs, validateOne(c, scope, at)...)
		unique(c.Name, at)
		errs = append(errs, validateRunning(c, scope, at)...)
		errs = append(errs, validateRestart(c, at)...)
	}
	errs = append(errs, hostPortConflicts(s.Containers, at)...)
	at = path.Child("initContainers")
	for i := range s.InitContainers {
		c, each := &s.InitContainers[i], at.Index(i)
		errs = append(errs, validateOne(c, scope, each)...)
		if c.RestartPolicy != nil || len(c.RestartPolicyRules) == 0 {
			errs = append(errs, validateRestart(c, each)...)
		} else {
			errs = append(errs, rulesNeedPolicy(each))
		}
		if c.Name != "" || names[""] {
			unique(c.Name, each)
		}
		errs = append(errs, hostPortConflicts(s.InitContainers[i:i+1], at)...)
		if IsSidecar(c) {
			errs = append(errs, validateRunning(c, scope, each)...)
		} else {
			errs = append(errs, forbidRunning(c, scope, each)...)
		}
	}
	at = path.Child("ephemeralContainers")
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], at.Index(i)
		c := OfEphemeral(e)
		errs = append(errs, validateOne(c, scope, at)...)
		errs = append(errs, ValidateTrimmed(c.Image, at)...)
		unique(c.Name, at)
		errs = append(errs, validateEphemeral(e, s, at)...)
	}
	return errs
}

// validateOne checks what containers of every sort have.
func validateOne(c *corev1.Container, scope *Scope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validate.RequiredAs(c.Name, validation.IsDNS1123Label, path.Child("name"))...)
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	}
	errs = append(errs, validate.OneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validatePorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c, scope, path.Child("volumeMounts"))...)
	errs = append(errs, validateDevices(c, scope, path.Child("volumeDevices"))...)
	errs = append(errs, validate.PullPolicy(c.ImagePullPolicy, path.Child("imagePullPolicy"))...)
	errs = append(errs, ValidateResources(&c.Resources, scope, quantity.ValidateContainerName, path.Child("resources"))...)
	errs = append(errs, validateResizePolicy(c.ResizePolicy, scope, path.Child("resizePolicy"))...)
	return append(errs, validateSecurityContext(c.SecurityContext, scope, path.Child("securityContext"))...)
}

// ValidateTrimmed refuses space around an image. Templates may have it: something else may put an image in its place.
func ValidateTrimmed(image string, path *field.Path) field.ErrorList {
	if strings.TrimSpace(image) != image {
		return field.ErrorList{field.Invalid(path.Child("image"), image, "must not have leading or trailing whitespace")}
	}
	return nil
}

// Bounds of the rules by which a container restarts.
const (
	maxRestartRules = 20
	MaxExitCodes    = 255 // also of the rules for pods that fail
)

func validateRestart(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case c.RestartPolicy == nil && len(c.RestartPolicyRules) > 0:
		errs = append(errs, rulesNeedPolicy(path))
	case c.RestartPolicy != nil:
		errs = append(errs, validate.Supported(*c.RestartPolicy, path.Child("restartPolicy"),
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	if len(c.RestartPolicyRules) > maxRestartRules {
		errs = append(errs, field.TooMany(path.Child("restartPolicyRules"), len(c.RestartPolicyRules), maxRestartRules))
	}
	for i := range c.RestartPolicyRules {
		rule, at := &c.RestartPolicyRules[i], path.Child("restartPolicyRules").Index(i)
		errs = append(errs, validate.Supported(rule.Action, at.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if at = at.Child("exitCodes"); rule.ExitCodes == nil {
			errs = append(errs, field.Required(at, "must be specified"))
			continue
		}
		errs = append(errs, validate.Supported(rule.ExitCodes.Operator, at.Child("operator"),
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if len(rule.ExitCodes.Values) > MaxExitCodes {
			errs = append(errs, field.TooMany(at.Child("values"), len(rule.ExitCodes.Values), MaxExitCodes))
		}
	}
	return errs
}

func rulesNeedPolicy(path *field.Path) *field.Error {
	return field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
}

// validateRunning checks what only containers have that run as long as the pod does.
func validateRunning(c *corev1.Container, scope *Scope, path *field.Path) field.ErrorList {
	errs := validateLifecycle(c.Lifecycle, scope, path.Child("lifecycle"))
	errs = append(errs, validateProbe(c.LivenessProbe, livenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, readinessProbe, path.Child("readinessProbe"))...)
	return append(errs, validateProbe(c.StartupProbe, startupProbe, path.Child("startupProbe"))...)
}

// forbidRunning refuses on init containers what only makes sense for containers that run on.
func forbidRunning(c *corev1.Container, scope *Scope, path *field.Path) field.ErrorList {
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
		if p.RestartPolicy == corev1.RestartContainer && !scope.Exempt.initResize {
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
		for _, target := range Lasting(s) {
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
				errs = append(errs, validate.Each(at.Child("name"), p.Name, messages)...)
			} else if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names[p.Name] = true
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, validate.Each(at.Child("containerPort"), p.ContainerPort, validation.IsValidPortNum(int(p.ContainerPort)))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, validate.Each(at.Child("hostPort"), p.HostPort, validation.IsValidPortNum(int(p.HostPort)))...)
		}
		errs = append(errs, validate.Protocol(p.Protocol, at.Child("protocol"))...)
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
