package kube

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ruleKey is a member of an API struct.
type ruleKey struct {
	typ  reflect.Type
	json string
}

func of[T any](json string) ruleKey { return ruleKey{reflect.TypeFor[T](), json} }

// rule checks a value that is neither null nor unknown itself.
type rule func(v *Validation, value View, at path.Path)

// requiredFields are members that the API requires although their tags do not say so.
var requiredFields = map[ruleKey]bool{
	of[corev1.Container]("image"):           true,
	of[corev1.LocalObjectReference]("name"): true,
	of[corev1.HTTPHeader]("value"):          true,
}

// fieldRules are the API's rules for single members, wherever their struct is used.
var fieldRules = map[ruleKey]rule{
	of[metav1.ObjectMeta]("labels"):                      labels,
	of[metav1.ObjectMeta]("annotations"):                 annotations,
	of[metav1.LabelSelector]("matchLabels"):              labels,
	of[corev1.PodSpec]("nodeSelector"):                   labels,
	of[corev1.PodSpec]("terminationGracePeriodSeconds"):  atLeast(0),
	of[corev1.PodSpec]("activeDeadlineSeconds"):          atLeast(1),
	of[corev1.Container]("name"):                         text(validation.IsDNS1123Label),
	of[corev1.Container]("image"):                        text(image),
	of[corev1.ContainerPort]("name"):                     text(validation.IsValidPortName),
	of[corev1.ContainerPort]("containerPort"):            between(1, 65535),
	of[corev1.ContainerPort]("hostPort"):                 between(0, 65535),
	of[corev1.EnvVar]("name"):                            text(validation.IsRelaxedEnvVarName),
	of[corev1.Volume]("name"):                            text(validation.IsDNS1123Label),
	of[corev1.VolumeMount]("mountPath"):                  text(notEmpty),
	of[corev1.KeyToPath]("path"):                         text(relativePath),
	of[corev1.HTTPGetAction]("port"):                     portNumberOrName,
	of[corev1.TCPSocketAction]("port"):                   portNumberOrName,
	of[corev1.GRPCAction]("port"):                        between(1, 65535),
	of[corev1.Probe]("initialDelaySeconds"):              atLeast(0),
	of[corev1.Probe]("timeoutSeconds"):                   atLeast(1),
	of[corev1.Probe]("periodSeconds"):                    atLeast(1),
	of[corev1.Probe]("successThreshold"):                 atLeast(1),
	of[corev1.Probe]("failureThreshold"):                 atLeast(1),
	of[corev1.ServiceSpec]("selector"):                   labels,
	of[corev1.ServiceSpec]("clusterIP"):                  text(addressOrNone),
	of[corev1.ServiceSpec]("externalName"):               text(validation.IsDNS1123Subdomain),
	of[corev1.ServicePort]("name"):                       text(validation.IsDNS1123Label),
	of[corev1.ServicePort]("port"):                       between(1, 65535),
	of[corev1.ServicePort]("nodePort"):                   between(1, 65535),
	of[corev1.ServicePort]("targetPort"):                 portNumberOrName,
	of[corev1.ConfigMap]("data"):                         dataKeys,
	of[corev1.ConfigMap]("binaryData"):                   dataKeys,
	of[appsv1.DeploymentSpec]("replicas"):                atLeast(0),
	of[appsv1.DeploymentSpec]("minReadySeconds"):         atLeast(0),
	of[appsv1.DeploymentSpec]("revisionHistoryLimit"):    atLeast(0),
	of[appsv1.DeploymentSpec]("progressDeadlineSeconds"): atLeast(1),
	of[appsv1.RollingUpdateDeployment]("maxSurge"):       countOrPercent,
	of[appsv1.RollingUpdateDeployment]("maxUnavailable"): countOrPercent,
}

// union is a struct of which one member at most may be set.
type union struct {
	besides  []string // members that do not take part
	required bool
	missing  string
}

var unions = map[reflect.Type]union{
	reflect.TypeFor[corev1.Volume]():           {required: true, missing: "The volume has no source: set one of empty_dir, config_map, secret, host_path, ..."},
	reflect.TypeFor[corev1.VolumeProjection](): {required: true, missing: "The projection has no source: set one of config_map, secret, downward_api, service_account_token, ..."},
	reflect.TypeFor[corev1.EnvVarSource]():     {required: true, missing: "Set one of field_ref, resource_field_ref, config_map_key_ref, secret_key_ref."},
	reflect.TypeFor[corev1.EnvFromSource]():    {required: true, missing: "Set config_map_ref or secret_ref."},
	reflect.TypeFor[corev1.Probe]():            {required: true, missing: "The probe does nothing: set one of exec, http_get, tcp_socket, grpc."},
	reflect.TypeFor[corev1.LifecycleHandler](): {required: true, missing: "The hook does nothing: set one of exec, http_get, tcp_socket, sleep."},
}

// enums are the values of string types whose set is closed in the pinned API.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[corev1.PullPolicy]():                    {"Always", "IfNotPresent", "Never"},
	reflect.TypeFor[corev1.RestartPolicy]():                 {"Always", "OnFailure", "Never"},
	reflect.TypeFor[corev1.DNSPolicy]():                     {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
	reflect.TypeFor[corev1.Protocol]():                      {"TCP", "UDP", "SCTP"},
	reflect.TypeFor[corev1.URIScheme]():                     {"HTTP", "HTTPS"},
	reflect.TypeFor[corev1.ServiceType]():                   {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
	reflect.TypeFor[corev1.ServiceAffinity]():               {"None", "ClientIP"},
	reflect.TypeFor[corev1.ServiceExternalTrafficPolicy]():  {"Cluster", "Local"},
	reflect.TypeFor[corev1.ServiceInternalTrafficPolicy]():  {"Cluster", "Local"},
	reflect.TypeFor[corev1.IPFamily]():                      {"IPv4", "IPv6"},
	reflect.TypeFor[corev1.IPFamilyPolicy]():                {"SingleStack", "PreferDualStack", "RequireDualStack"},
	reflect.TypeFor[corev1.TerminationMessagePolicy]():      {"File", "FallbackToLogsOnError"},
	reflect.TypeFor[corev1.MountPropagationMode]():          {"None", "HostToContainer", "Bidirectional"},
	reflect.TypeFor[corev1.StorageMedium]():                 {"", "Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"},
	reflect.TypeFor[corev1.TaintEffect]():                   {"NoSchedule", "PreferNoSchedule", "NoExecute"},
	reflect.TypeFor[corev1.TolerationOperator]():            {"Exists", "Equal", "Lt", "Gt"},
	reflect.TypeFor[corev1.NodeSelectorOperator]():          {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"},
	reflect.TypeFor[corev1.UnsatisfiableConstraintAction](): {"DoNotSchedule", "ScheduleAnyway"},
	reflect.TypeFor[corev1.PreemptionPolicy]():              {"PreemptLowerPriority", "Never"},
	reflect.TypeFor[metav1.LabelSelectorOperator]():         {"In", "NotIn", "Exists", "DoesNotExist"},
	reflect.TypeFor[appsv1.DeploymentStrategyType]():        {"Recreate", "RollingUpdate"},
}

func text(check func(string) []string) rule {
	return func(v *Validation, value View, at path.Path) {
		if s, ok := value.Text(); ok {
			v.check(at, check(s))
		}
	}
}

func between(low, high int64) rule {
	return func(v *Validation, value View, at path.Path) {
		if number, ok := value.Number(); ok && (number < low || number > high) {
			v.Error(at, fmt.Sprintf("%d is not between %d and %d.", number, low, high))
		}
	}
}

func atLeast(low int64) rule {
	return func(v *Validation, value View, at path.Path) {
		if number, ok := value.Number(); ok && number < low {
			v.Error(at, fmt.Sprintf("%d is less than %d.", number, low))
		}
	}
}

func labels(v *Validation, value View, at path.Path) {
	for name, content := range value.Members() {
		v.check(at.AtMapKey(name), validation.IsQualifiedName(name))
		if s, ok := content.Text(); ok {
			v.check(at.AtMapKey(name), validation.IsValidLabelValue(s))
		}
	}
}

func annotations(v *Validation, value View, at path.Path) {
	for name := range value.Members() {
		v.check(at.AtMapKey(name), validation.IsQualifiedName(strings.ToLower(name)))
	}
}

func dataKeys(v *Validation, value View, at path.Path) {
	for name := range value.Members() {
		v.check(at.AtMapKey(name), validation.IsConfigMapKey(name))
	}
}

func portNumberOrName(v *Validation, value View, at path.Path) {
	s, ok := value.Text()
	if !ok {
		return
	}
	if number, err := parsePlainInt(s); err == nil {
		v.check(at, validation.IsValidPortNum(int(number)))
		return
	}
	v.check(at, validation.IsValidPortName(s))
}

func countOrPercent(v *Validation, value View, at path.Path) {
	s, ok := value.Text()
	if !ok {
		return
	}
	if number, err := parsePlainInt(s); err == nil {
		v.check(at, validation.IsInRange(int(number), 0, 1<<31-1))
		return
	}
	v.check(at, validation.IsValidPercent(s))
}

func image(s string) []string {
	if s == "" || strings.TrimSpace(s) != s {
		return []string{"an image has a name without spaces around it"}
	}
	return nil
}

func notEmpty(s string) []string {
	if s == "" {
		return []string{"the value can not be empty"}
	}
	return nil
}

func relativePath(s string) []string {
	if s == "" || strings.HasPrefix(s, "/") {
		return []string{"a path inside the volume is relative and not empty"}
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == ".." {
			return []string{"a path inside the volume can not contain '..'"}
		}
	}
	return nil
}

func addressOrNone(s string) []string {
	if s == "" || s == "None" {
		return nil
	}
	if errs := validation.IsValidIP(nil, s); len(errs) > 0 {
		return []string{fmt.Sprintf("%q is neither an address nor None", s)}
	}
	return nil
}
