package pod

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/downward"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

// environment resolves a container's variables, from all their sources, in the order in which the API says that a later
// one wins: services, envFrom, env.
type environment struct {
	pod         *corev1.Pod
	container   *corev1.Container
	objects     volume.Source
	services    []*corev1.Service // of the pod's namespace, and the API server's
	hostIPs     []string
	podIPs      []string
	allocatable corev1.ResourceList // stands in for limits that are not set
}

func (e *environment) resolve(ctx context.Context) (map[string]string, []string, error) {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	service := serviceEnv(e.services, e.pod)
	for _, kv := range service {
		name, value, _ := strings.Cut(kv, "=")
		set(name, value)
	}
	for _, from := range e.container.EnvFrom {
		if err := e.fromObject(ctx, from, set); err != nil {
			return nil, nil, err
		}
	}
	for i := range e.container.Env {
		v := &e.container.Env[i]
		value, ok, err := e.value(ctx, v, values)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			set(v.Name, value)
		}
	}
	list := make([]string, len(order))
	for i, name := range order {
		list[i] = name + "=" + values[name]
	}
	return values, list, nil
}

func (e *environment) fromObject(ctx context.Context, from corev1.EnvFromSource, set func(name, value string)) error {
	var data map[string]string
	switch {
	case from.ConfigMapRef != nil:
		cm, err := e.objects.ConfigMap(ctx, e.pod.Namespace, from.ConfigMapRef.Name)
		if absent(err, from.ConfigMapRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		data = cm.Data
	case from.SecretRef != nil:
		s, err := e.objects.Secret(ctx, e.pod.Namespace, from.SecretRef.Name)
		if absent(err, from.SecretRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		data = make(map[string]string, len(s.Data))
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range sortedKeys(data) {
		name := from.Prefix + k
		if len(validation.IsRelaxedEnvVarName(name)) == 0 {
			set(name, data[k])
		}
	}
	return nil
}

func absent(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && optional != nil && *optional
}

// value resolves one variable; ok is false for an optional source that is not there.
func (e *environment) value(ctx context.Context, v *corev1.EnvVar, values map[string]string) (_ string, ok bool, _ error) {
	if v.ValueFrom == nil {
		return expand(v.Value, values), true, nil
	}
	switch f := v.ValueFrom; {
	case f.FieldRef != nil:
		s, err := e.own().Field(f.FieldRef.FieldPath)
		return s, true, err
	case f.ResourceFieldRef != nil:
		s, err := e.resource(f.ResourceFieldRef)
		return s, true, err
	case f.ConfigMapKeyRef != nil:
		cm, err := e.objects.ConfigMap(ctx, e.pod.Namespace, f.ConfigMapKeyRef.Name)
		if absent(err, f.ConfigMapKeyRef.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		s, found := cm.Data[f.ConfigMapKeyRef.Key]
		return keyed(s, found, f.ConfigMapKeyRef.Optional, f.ConfigMapKeyRef.Key, "ConfigMap", e.pod.Namespace, cm.Name)
	case f.SecretKeyRef != nil:
		sec, err := e.objects.Secret(ctx, e.pod.Namespace, f.SecretKeyRef.Name)
		if absent(err, f.SecretKeyRef.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		s, found := sec.Data[f.SecretKeyRef.Key]
		return keyed(string(s), found, f.SecretKeyRef.Optional, f.SecretKeyRef.Key, "Secret", e.pod.Namespace, sec.Name)
	}
	return "", false, fmt.Errorf("cannot resolve variable %s: unknown source", v.Name)
}

func keyed(s string, found bool, optional *bool, key, kind, namespace, name string) (string, bool, error) {
	if !found && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %v in %s %v/%v", key, kind, namespace, name)
	}
	return s, found, nil
}

// own is the pod as the downward API sees it.
func (e *environment) own() downward.Pod {
	return downward.Pod{Pod: e.pod, HostIPs: e.hostIPs, PodIPs: e.podIPs, Allocatable: e.allocatable}
}

func (e *environment) resource(ref *corev1.ResourceFieldSelector) (string, error) {
	c := e.container
	if ref.ContainerName != "" && ref.ContainerName != c.Name {
		if c = findContainer(&e.pod.Spec, ref.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
	}
	return e.own().Resource(c, ref)
}

func findContainer(spec *corev1.PodSpec, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range spec.EphemeralContainers {
		if spec.EphemeralContainers[i].Name == name {
			return (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)
		}
	}
	return nil
}

// serviceEnv are the variables that name services: the API server's always, the namespace's own unless the pod does not
// want them.
func serviceEnv(services []*corev1.Service, pod *corev1.Pod) []string {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	var out []string
	sorted := slices.Clone(services)
	slices.SortFunc(sorted, func(a, b *corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range sorted {
		master := s.Namespace == corev1.NamespaceDefault && s.Name == "kubernetes"
		own := s.Namespace == pod.Namespace && links
		if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || !master && !own {
			continue
		}
		out = append(out, oneServiceEnv(s)...)
	}
	return out
}

func oneServiceEnv(s *corev1.Service) []string {
	name := envName(s.Name)
	out := []string{name + "_SERVICE_HOST=" + s.Spec.ClusterIP}
	for i, p := range s.Spec.Ports {
		port := strconv.Itoa(int(p.Port))
		proto := strings.ToLower(string(p.Protocol))
		if proto == "" {
			proto = "tcp"
		}
		url := proto + "://" + net.JoinHostPort(s.Spec.ClusterIP, port)
		if i == 0 {
			out = append(out, name+"_SERVICE_PORT="+port, name+"_PORT="+url)
		}
		if p.Name != "" {
			out = append(out, name+"_SERVICE_PORT_"+envName(p.Name)+"="+port)
		}
		prefix := name + "_PORT_" + port + "_" + strings.ToUpper(proto)
		out = append(out, prefix+"="+url, prefix+"_PROTO="+proto, prefix+"_PORT="+port, prefix+"_ADDR="+s.Spec.ClusterIP)
	}
	return out
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// expand replaces $(NAME) by the variable's value. $$ stands for a dollar sign; a name that is not known stays as it is
// written.
func expand(s string, values map[string]string) string {
	out, _ := expandWith(s, func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	return out
}

// expandStrict is expand for paths, where a name that is not known is an error.
func expandStrict(s string, values map[string]string) (string, error) {
	out, missing := expandWith(s, func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	if len(missing) > 0 {
		return "", fmt.Errorf("missing value for %q", missing[0])
	}
	return out, nil
}

func expandWith(s string, value func(string) (string, bool)) (_ string, missing []string) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i+2:], ')')
			if end < 0 {
				out.WriteString("$(")
				i++
				continue
			}
			name := s[i+2 : i+2+end]
			if v, ok := value(name); ok {
				out.WriteString(v)
			} else {
				missing = append(missing, name)
				out.WriteString(s[i : i+3+end])
			}
			i += 2 + end
		default:
			out.WriteByte('$')
		}
	}
	return out.String(), missing
}

func expandAll(list []string, values map[string]string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = expand(s, values)
	}
	return out
}
