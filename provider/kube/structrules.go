package kube

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// structRules are the API's rules over several members of one struct, wherever the struct is used.
var structRules = map[reflect.Type]rule{
	reflect.TypeFor[corev1.PodSpec]():              podSpec,
	reflect.TypeFor[corev1.ResourceRequirements](): resources,
	reflect.TypeFor[corev1.Toleration]():           toleration,
	reflect.TypeFor[corev1.EnvVar]():               envVar,
	reflect.TypeFor[corev1.ServiceSpec]():          serviceSpec,
	reflect.TypeFor[appsv1.DeploymentSpec]():       runsForever,
	reflect.TypeFor[appsv1.ReplicaSetSpec]():       runsForever,
	reflect.TypeFor[appsv1.StatefulSetSpec]():      runsForever,
	reflect.TypeFor[appsv1.DaemonSetSpec]():        runsForever,
	reflect.TypeFor[batchv1.JobSpec]():             jobSpec,
	reflect.TypeFor[appsv1.DeploymentStrategy]():   deploymentStrategy,
}

// runsForever checks a workload whose pods are replaced when they end.
func runsForever(v *Validation, spec View, at path.Path) {
	selectsTemplate(v, spec, at)
	if policy, ok := spec.At("template.spec.restart_policy").Text(); ok && policy != "Always" {
		v.Error(at.AtName("template").AtName("spec").AtName("restart_policy"), fmt.Sprintf("The pods run always: %q is for jobs.", policy))
	}
}

// resources checks that nothing asks for more than it may have.
func resources(v *Validation, value View, at path.Path) {
	limits := value.At("limits").Members()
	for name, request := range value.At("requests").Members() {
		asked, okA := request.Text()
		most, okM := limits[name].Text()
		if !okA || !okM {
			continue
		}
		a, errA := resource.ParseQuantity(asked)
		m, errM := resource.ParseQuantity(most)
		if errA == nil && errM == nil && a.Cmp(m) > 0 {
			v.Error(at.AtName("requests").AtMapKey(name), fmt.Sprintf("The request of %s is more than the limit of %s.", asked, most))
		}
	}
}

func toleration(v *Validation, value View, at path.Path) {
	operator, known := value.At("operator").Text()
	text, _ := value.At("value").Text()
	key, hasKey := value.At("key").Text()
	switch {
	case known && operator == "Exists" && text != "":
		v.Error(at.AtName("value"), "A toleration with operator Exists has no value.")
	case (value.At("key").Null() || hasKey && key == "") && !value.At("operator").Unknown() && operator != "Exists":
		v.Error(at.AtName("operator"), "A toleration without a key tolerates every taint: its operator must be Exists.")
	}
}

// selectsTemplate checks that a workload selects the pods that it makes.
func selectsTemplate(v *Validation, spec View, at path.Path) {
	labels := spec.At("template.metadata.labels")
	selector := spec.At("selector.match_labels")
	if spec.At("selector").Null() {
		if labels.Null() || !labels.Unknown() && len(labels.Members()) == 0 {
			v.Error(at.AtName("template").AtName("metadata"), "The template needs labels: the selector is made of them when it is not set.")
		}
		return
	}
	expressions := spec.At("selector.match_expressions")
	if !spec.At("selector").Unknown() && !selector.Unknown() && len(selector.Members()) == 0 && !expressions.Unknown() && len(expressions.Elements()) == 0 {
		v.Error(at.AtName("selector"), "The selector is empty and would select every pod; leave it out to have it made of the template's labels.")
	}
	if labels.Unknown() {
		return
	}
	have := labels.Members()
	for name, want := range selector.Members() {
		got, ok := have[name]
		wanted, knownWant := want.Text()
		has, knownHas := got.Text()
		if !ok || knownWant && knownHas && wanted != has {
			v.Error(at.AtName("selector").AtName("match_labels").AtMapKey(name),
				"The selector does not match the labels of the template, so that it would never find its own pods.")
		}
	}
}

func jobSpec(v *Validation, spec View, at path.Path) {
	if policy, ok := spec.At("template.spec.restart_policy").Text(); ok && policy == "Always" {
		v.Error(at.AtName("template").AtName("spec").AtName("restart_policy"), "The pods of a job end: use OnFailure or Never.")
	}
}

func deploymentStrategy(v *Validation, strategy View, at path.Path) {
	kind, ok := strategy.At("type").Text()
	if ok && kind == "Recreate" && !strategy.At("rolling_update").Null() {
		v.Error(at.AtName("rolling_update"), "Strategy Recreate has no rolling update.")
	}
	zero := func(name string) bool {
		text, known := strategy.At("rolling_update." + name).Text()
		return known && strings.TrimSuffix(text, "%") == "0"
	}
	if zero("max_surge") && zero("max_unavailable") {
		v.Error(at.AtName("rolling_update"), "max_surge and max_unavailable can not both be 0: nothing could ever be replaced.")
	}
}

func envVar(v *Validation, env View, at path.Path) {
	if value, ok := env.At("value").Text(); ok && value != "" && !env.At("value_from").Null() {
		v.Error(at, "Only one of value and value_from can be set.")
	}
}

// podSpec checks names across a pod: containers are unique, and what they mount is there.
func podSpec(v *Validation, spec View, at path.Path) {
	if containers := spec.At("containers"); !containers.Null() && !containers.Unknown() && len(containers.Elements()) == 0 {
		v.Error(at.AtName("containers"), "A pod needs at least one container.")
	}
	volumes, complete := names(spec.At("volumes"))
	seen := map[string]bool{}
	for _, list := range []string{"init_containers", "containers"} {
		for i, container := range spec.At(list).Elements() {
			below := at.AtName(list).AtListIndex(i)
			if name, ok := container.At("name").Text(); ok {
				if seen[name] && list == "containers" {
					v.Error(below.AtName("name"), fmt.Sprintf("There is an init container with the name %q too.", name))
				}
				if list == "init_containers" {
					seen[name] = true
				}
			}
			mounts(v, container, below, volumes, complete)
		}
	}
}

// mounts checks that a container mounts volumes of its pod.
func mounts(v *Validation, container View, at path.Path, volumes map[string]bool, complete bool) {
	for i, mount := range container.At("volume_mounts").Elements() {
		name, ok := mount.At("name").Text()
		if !ok || !complete || volumes[name] {
			continue
		}
		detail := fmt.Sprintf("The pod has no volume %q.", name)
		if len(volumes) > 0 {
			detail = fmt.Sprintf("The pod has no volume %q; it has %s.", name, strings.Join(slices.Sorted(maps.Keys(volumes)), ", "))
		}
		v.Error(at.AtName("volume_mounts").AtListIndex(i).AtName("name"), detail)
	}
}

// names returns the names in a list, and whether all of them are known.
func names(list View) (map[string]bool, bool) {
	found := map[string]bool{}
	complete := !list.Unknown()
	for _, element := range list.Elements() {
		name, ok := element.At("name").Text()
		if !ok {
			complete = false
			continue
		}
		found[name] = true
	}
	return found, complete
}

func serviceSpec(v *Validation, spec View, at path.Path) {
	kind := "ClusterIP"
	if t := spec.At("type"); t.Unknown() {
		return
	} else if text, ok := t.Text(); ok {
		kind = text
	}
	ports := spec.At("ports")
	address, _ := spec.At("cluster_ip").Text()
	switch {
	case kind == "ExternalName":
		if spec.At("external_name").Null() {
			v.Error(at.AtName("external_name"), "A service of type ExternalName needs an external_name.")
		}
	case address == "None" && kind != "ClusterIP":
		v.Error(at.AtName("cluster_ip"), fmt.Sprintf("A service of type %s can not be headless.", kind))
	case address != "None" && (ports.Null() || !ports.Unknown() && len(ports.Elements()) == 0):
		v.Error(at.AtName("ports"), "A service needs at least one port, unless it is headless (cluster_ip = \"None\") or of type ExternalName.")
	}
	if policy := spec.At("external_traffic_policy"); !policy.Null() && (kind == "ClusterIP" || kind == "ExternalName") && spec.At("external_ips").Null() {
		v.Error(at.AtName("external_traffic_policy"), fmt.Sprintf("A service of type %s gets no traffic from outside.", kind))
	}
	servicePorts(v, kind, ports, at.AtName("ports"))
}

func servicePorts(v *Validation, kind string, ports View, at path.Path) {
	list := ports.Elements()
	seen := map[string]bool{}
	for i, port := range list {
		below := at.AtListIndex(i)
		name := port.At("name")
		if text, ok := name.Text(); ok && seen[text] {
			v.Error(below.AtName("name"), fmt.Sprintf("There is another port with the name %q.", text))
		} else if ok {
			seen[text] = true
		}
		if name.Null() && len(list) > 1 {
			v.Error(below, "Every port needs a name when there are several.")
		}
		if number, ok := port.At("node_port").Number(); ok && number != 0 && kind != "NodePort" && kind != "LoadBalancer" {
			v.Error(below.AtName("node_port"), fmt.Sprintf("A service of type %s has no node ports.", kind))
		}
	}
}
