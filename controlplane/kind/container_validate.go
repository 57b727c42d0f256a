package kind

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podScope is what the parts of a pod may refer to.
type podScope struct {
	volumes     map[string]*corev1.Volume
	claims      map[string]bool // resource claims
	gracePeriod int64
	hostUsers   bool
	names       map[string]bool // of the containers so far
}

func newPodScope(s *corev1.PodSpec) *podScope {
	scope := &podScope{
		volumes: map[string]*corev1.Volume{}, claims: map[string]bool{}, names: map[string]bool{},
		gracePeriod: deref(s.TerminationGracePeriodSeconds, 0), hostUsers: deref(s.HostUsers, true),
	}
	for i := range s.Volumes {
		scope.volumes[s.Volumes[i].Name] = &s.Volumes[i]
	}
	for _, c := range s.ResourceClaims {
		scope.claims[c.Name] = true
	}
	return scope
}

func validateContainers(s *corev1.PodSpec, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	for i := range s.Containers {
		c, at := &s.Containers[i], path.Child("containers").Index(i)
		errs = append(errs, validateContainer(c, scope, at)...)
		errs = append(errs, validateRunning(c, scope, at)...)
	}
	errs = append(errs, hostPortConflicts(s.Containers, path.Child("containers"))...)
	for i := range s.InitContainers {
		c, at := &s.InitContainers[i], path.Child("initContainers").Index(i)
		errs = append(errs, validateContainer(c, scope, at)...)
		if isSidecar(c) {
			errs = append(errs, validateRunning(c, scope, at)...)
			continue
		}
		errs = append(errs, forbidRunning(c, at)...)
	}
	for i := range s.InitContainers {
		errs = append(errs, hostPortConflicts(s.InitContainers[i:i+1], path.Child("initContainers"))...)
	}
	for i := range s.EphemeralContainers {
		errs = append(errs, validateEphemeralContainer(&s.EphemeralContainers[i], s, scope, path.Child("ephemeralContainers").Index(i))...)
	}
	return errs
}

// validateContainer checks what containers of every sort have.
func validateContainer(c *corev1.Container, scope *podScope, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case c.Name == "":
		errs = append(errs, field.Required(path.Child("name"), ""))
	case scope.names[c.Name]:
		errs = append(errs, field.Duplicate(path.Child("name"), c.Name))
	default:
		errs = append(errs, invalidEach(path.Child("name"), c.Name, validation.IsDNS1123Label(c.Name))...)
	}
	scope.names[c.Name] = true
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	} else if strings.TrimSpace(c.Image) != c.Image {
		errs = append(errs, field.Invalid(path.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, oneOf(c.ImagePullPolicy, path.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validatePorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, scope, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c, scope, path.Child("volumeMounts"))...)
	errs = append(errs, validateDevices(c, scope, path.Child("volumeDevices"))...)
	errs = append(errs, validateResources(&c.Resources, scope.claims, path.Child("resources"))...)
	errs = append(errs, validateResizePolicy(c.ResizePolicy, path.Child("resizePolicy"))...)
	errs = append(errs, validateSecurityContext(c.SecurityContext, scope, path.Child("securityContext"))...)
	return append(errs, validateRestart(c, path)...)
}

func validateRestart(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.RestartPolicy != nil {
		errs = append(errs, oneOf(*c.RestartPolicy, path.Child("restartPolicy"),
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	} else if len(c.RestartPolicyRules) > 0 {
		errs = append(errs, field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	for i, rule := range c.RestartPolicyRules {
		at := path.Child("restartPolicyRules").Index(i)
		errs = append(errs, oneOf(rule.Action, at.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if rule.ExitCodes == nil {
			errs = append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		errs = append(errs, oneOf(rule.ExitCodes.Operator, at.Child("exitCodes", "operator"),
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
	}
	return errs
}

// validateRunning checks what only containers have that run as long as the pod does.
func validateRunning(c *corev1.Container, scope *podScope, path *field.Path) field.ErrorList {
	errs := validateLifecycle(c.Lifecycle, scope.gracePeriod, path.Child("lifecycle"))
	errs = append(errs, validateProbe(c.LivenessProbe, livenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, readinessProbe, path.Child("readinessProbe"))...)
	return append(errs, validateProbe(c.StartupProbe, startupProbe, path.Child("startupProbe"))...)
}

// forbidRunning refuses on init containers what only makes sense for containers that run on.
func forbidRunning(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, set := range map[string]bool{
		"lifecycle": c.Lifecycle != nil, "livenessProbe": c.LivenessProbe != nil,
		"readinessProbe": c.ReadinessProbe != nil, "startupProbe": c.StartupProbe != nil,
	} {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	return errs
}

func validateEphemeralContainer(e *corev1.EphemeralContainer, s *corev1.PodSpec, scope *podScope, path *field.Path) field.ErrorList {
	c := corev1.Container(e.EphemeralContainerCommon)
	errs := validateContainer(&c, scope, path)
	if e.TargetContainerName != "" {
		found := false
		for _, target := range allContainers(s) {
			found = found || target.Name == e.TargetContainerName
		}
		if !found {
			errs = append(errs, field.NotFound(path.Child("targetContainerName"), e.TargetContainerName))
		}
	}
	for name, set := range map[string]bool{
		"ports": len(c.Ports) > 0, "livenessProbe": c.LivenessProbe != nil, "readinessProbe": c.ReadinessProbe != nil,
		"startupProbe": c.StartupProbe != nil, "lifecycle": c.Lifecycle != nil, "resizePolicy": len(c.ResizePolicy) > 0,
		"restartPolicy": c.RestartPolicy != nil,
		"resources":     len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0,
	} {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "cannot be set for an Ephemeral Container"))
		}
	}
	for i, m := range c.VolumeMounts {
		if m.SubPath != "" {
			errs = append(errs, field.Forbidden(path.Child("volumeMounts").Index(i).Child("subPath"), "cannot be set for an Ephemeral Container"))
		}
		if m.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(path.Child("volumeMounts").Index(i).Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
		}
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

func validateResizePolicy(policies []corev1.ContainerResizePolicy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.ResourceName]bool{}
	for i, p := range policies {
		at := path.Index(i)
		if seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(at, p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, oneOf(p.ResourceName, at.Child("resourceName"), corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(p.RestartPolicy, at.Child("restartPolicy"), corev1.NotRequired, corev1.RestartContainer)...)
	}
	return errs
}
