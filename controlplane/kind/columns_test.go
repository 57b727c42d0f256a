package kind_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestColumns compares what a table says with what kubectl prints of the same object on Kubernetes.
func TestColumns(t *testing.T) {
	const at = "creationTimestamp: '2026-05-01T11:00:00Z'"
	for _, c := range []struct{ kind, name, yaml, want string }{
		{"Pod", "pending", "metadata: {name: p, " + at + "}\nspec: {containers: [{name: a}, {name: b}]}\nstatus: {phase: Pending}",
			"p|0/2|Pending|0|60m|<none>|<none>|<none>|<none>"},
		{"Pod", "running", "metadata: {name: p, " + at + "}\nspec: {nodeName: a, containers: [{name: a}], readinessGates: [{conditionType: x/y}]}\nstatus: {phase: Running, podIPs: [{ip: 10.0.0.1}], containerStatuses: [{ready: true, restartCount: 3, state: {running: {}}, lastState: {terminated: {finishedAt: '2026-05-01T11:58:00Z', exitCode: 1}}}], conditions: [{type: x/y, status: 'True'}]}",
			"p|1/1|Running|3 (2m ago)|60m|10.0.0.1|a|<none>|1/1"},
		{"Pod", "crashing", "metadata: {name: p}\nspec: {containers: [{name: a}]}\nstatus: {phase: Running, containerStatuses: [{restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}}]}",
			"p|0/1|CrashLoopBackOff|1|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "terminating", "metadata: {name: p, deletionTimestamp: '2026-05-01T11:00:00Z'}\nspec: {containers: [{name: a}]}\nstatus: {phase: Running}",
			"p|0/1|Terminating|0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "initializing", "metadata: {name: p}\nspec: {initContainers: [{name: i}, {name: j}], containers: [{name: a}]}\nstatus: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}, {name: j, state: {running: {}}}]}",
			"p|0/1|Init:1/2|0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "init failed", "metadata: {name: p}\nspec: {initContainers: [{name: i}], containers: [{name: a}]}\nstatus: {phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {terminated: {exitCode: 3}}}]}",
			"p|0/1|Init:ExitCode:3|2|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "sidecar", "metadata: {name: p}\nspec: {initContainers: [{name: i, restartPolicy: Always}], containers: [{name: a}]}\nstatus: {phase: Running, initContainerStatuses: [{name: i, started: true, ready: true, state: {running: {}}}], containerStatuses: [{ready: true, state: {running: {}}}]}",
			"p|2/2|Running|0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "completed", "metadata: {name: p}\nspec: {containers: [{name: a}]}\nstatus: {phase: Succeeded, containerStatuses: [{state: {terminated: {exitCode: 0, reason: Completed}}}]}",
			"p|0/1|Completed|0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "gated", "metadata: {name: p}\nspec: {containers: [{name: a}]}\nstatus: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}",
			"p|0/1|SchedulingGated|0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Pod", "evicted", "metadata: {name: p}\nspec: {containers: [{name: a}]}\nstatus: {phase: Failed, reason: Evicted}",
			"p|0/1|Evicted|0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Node", "ready", "metadata: {name: a, labels: {node-role.kubernetes.io/worker: '', node-role.kubernetes.io/control-plane: ''}}\nspec: {unschedulable: true}\nstatus: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 10.0.0.1}], nodeInfo: {kubeletVersion: v1.37.0, osImage: Debian, kernelVersion: '6.1'}}",
			"a|Ready,SchedulingDisabled|control-plane,worker|<unknown>|v1.37.0|10.0.0.1|<none>|Debian|6.1|<unknown>"},
		{"Node", "unknown", "metadata: {name: a}", "a|Unknown|<none>|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>"},
		{"Service", "node port", "metadata: {name: s}\nspec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], selector: {b: c, a: b}, ports: [{port: 80, protocol: TCP, nodePort: 30000}, {port: 53, protocol: UDP}]}",
			"s|NodePort|10.0.0.1|<none>|80:30000/TCP,53/UDP|<unknown>|a=b,b=c"},
		{"Service", "balancer", "metadata: {name: s}\nspec: {type: LoadBalancer}", "s|LoadBalancer|<none>|<pending>|<none>|<unknown>|<none>"},
		{"Service", "external", "metadata: {name: s}\nspec: {type: ExternalName, externalName: a.b}", "s|ExternalName|<none>|a.b|<none>|<unknown>|<none>"},
		{"Deployment", "", "metadata: {name: d}\nspec: {replicas: 3, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: x, image: i:1}, {name: z, image: j:1}]}}}\nstatus: {readyReplicas: 2, updatedReplicas: 1, availableReplicas: 2}",
			"d|2/3|1|2|<unknown>|x,z|i:1,j:1|a=b"},
		{"ReplicaSet", "", "metadata: {name: r}\nspec: {replicas: 3}\nstatus: {replicas: 2, readyReplicas: 1}", "r|3|2|1|<unknown>|||<none>"},
		{"Event", "", "metadata: {name: e}\ninvolvedObject: {kind: Pod, name: p, fieldPath: 'spec.containers{c}'}\nreason: Pulled\ntype: Normal\nmessage: \"done \\n\"\ncount: 4\nsource: {component: agent, host: h}\nfirstTimestamp: '2026-05-01T11:00:00Z'\nlastTimestamp: '2026-05-01T11:59:00Z'",
			"60s|Normal|Pulled|pod/p|spec.containers{c}|agent, h|done|60m|4|e"},
		{"Endpoints", "", "metadata: {name: e}\nsubsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], ports: [{port: 1}, {port: 2}]}]", "e|10.0.0.1:1,10.0.0.2:1,10.0.0.1:2 + 1 more...|<unknown>"},
		{"EndpointSlice", "", "metadata: {name: e}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\nports: [{port: 80}, {name: x}]", "e|IPv4|80,x|10.0.0.1|<unknown>"},
		{"ControllerRevision", "", "metadata: {name: c, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: s, controller: true}]}\nrevision: 3", "c|statefulset.apps/s|3|<unknown>"},
		{"RoleBinding", "", "metadata: {name: b}\nroleRef: {kind: Role, name: r}\nsubjects: [{kind: User, name: u}, {kind: User, name: v}, {kind: ServiceAccount, namespace: x, name: s}]", "b|Role/r|<unknown>|u, v||x/s"},
		{"PodDisruptionBudget", "", "metadata: {name: b}\nspec: {maxUnavailable: 50%}\nstatus: {disruptionsAllowed: 1}", "b|N/A|50%|1|<unknown>"},
		{"Lease", "", "metadata: {name: l}\nspec: {holderIdentity: me}", "l|me|<unknown>"},
		{"CertificateSigningRequest", "", "metadata: {name: c}\nspec: {signerName: a.b/c, username: u, expirationSeconds: 3600}\nstatus: {certificate: eA==, conditions: [{type: Approved}]}", "c|<unknown>|a.b/c|u|60m|Approved,Issued"},
		{"CSIDriver", "", "metadata: {name: d}\nspec: {podInfoOnMount: true, tokenRequests: [{audience: a}, {audience: b}], volumeLifecycleModes: [Persistent, Ephemeral]}", "d|true|true|false|a,b|false|Persistent,Ephemeral|<unknown>"},
		{"CSINode", "", "metadata: {name: x}\nspec: {drivers: [{name: a}, {name: b}]}", "x|2|<unknown>"},
		{"VolumeAttachment", "", "metadata: {name: v}\nspec: {attacher: a, nodeName: x, source: {persistentVolumeName: p}}\nstatus: {attached: true}", "v|a|p|x|true|<unknown>"},
		{"Secret", "", "metadata: {name: s}\ntype: Opaque\ndata: {a: eA==}", "s|Opaque|1|<unknown>"},
		{"Job", "", "metadata: {name: j}\nspec: {completions: 3}\nstatus: {succeeded: 1, startTime: '2026-05-01T11:59:00Z'}", "j|Running|1/3|60s|<unknown>|||<none>"},
		{"Job", "complete", "metadata: {name: j}\nspec: {completions: 1}\nstatus: {succeeded: 1, startTime: '2026-05-01T11:00:00Z', completionTime: '2026-05-01T11:00:09Z', conditions: [{type: Complete, status: 'True'}]}", "j|Complete|1/1|9s|<unknown>|||<none>"},
		{"CronJob", "", "metadata: {name: c}\nspec: {schedule: '@daily', suspend: true}\nstatus: {lastScheduleTime: '2026-05-01T11:59:00Z'}", "c|@daily|<none>|True|0|60s|<unknown>|||<none>"},
		{"StatefulSet", "", "metadata: {name: s}\nspec: {replicas: 2}\nstatus: {readyReplicas: 1}", "s|1/2|<unknown>||"},
		{"DaemonSet", "", "metadata: {name: d}\nstatus: {desiredNumberScheduled: 3, currentNumberScheduled: 2, numberReady: 1}", "d|3|2|1|0|0|<none>|<unknown>|||<none>"},
		{"Ingress", "", "metadata: {name: i}\nspec: {ingressClassName: c, tls: [{}], rules: [{host: a}, {host: b}]}\nstatus: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}", "i|c|a,b|10.0.0.1|80, 443|<unknown>"},
		{"ResourceQuota", "", "metadata: {name: q}\nstatus: {hard: {pods: 5, cpu: 2, limits.cpu: 4}, used: {pods: 1}}", "q|cpu: 0/2, pods: 1/5|limits.cpu: 0/4|<unknown>"},
		{"PersistentVolumeClaim", "", "metadata: {name: c}\nspec: {volumeName: v, storageClassName: s}\nstatus: {phase: Bound, capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce, ReadOnlyMany]}", "c|Bound|v|1Gi|RWO,ROX|s|<unset>|<unknown>|<unset>"},
		{"HorizontalPodAutoscaler", "", "metadata: {name: h}\nspec: {maxReplicas: 3, minReplicas: 1, scaleTargetRef: {kind: Deployment, name: d}, metrics: [{resource: {name: cpu, target: {averageUtilization: 80}}}]}\nstatus: {currentReplicas: 2}", "h|Deployment/d|cpu: <unknown>/80%|1|3|2|<unknown>"},
		{"HorizontalPodAutoscaler", "averages", "metadata: {name: h}\nspec: {maxReplicas: 3, scaleTargetRef: {kind: D, name: d}, metrics: [{resource: {name: memory, target: {averageValue: 1Mi}}}, {external: {metric: {name: m}, target: {averageValue: 2}}}, {pods: {metric: {name: m}, target: {averageValue: 3}}}]}", "h|D/d|memory: <unknown>/1Mi, <unknown>/2 (avg) + 1 more...|<unset>|3|0|<unknown>"},
		{"IngressClass", "default", "metadata: {name: c, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}\nspec: {controller: a.b/c, parameters: {apiGroup: g, kind: K, name: x}}", "c (default)|a.b/c|K.g/x|<unknown>"},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			obj := k.New()
			unmarshal(t, c.yaml, obj)
			var cells []string
			for _, cell := range k.Row(obj, now) {
				cells = append(cells, fmt.Sprint(cell))
			}
			if got := strings.Join(cells, "|"); got != c.want {
				t.Errorf("row is\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// TestColumnNames pins the headings, wide ones in parentheses.
func TestSelectableFields(t *testing.T) {
	want := map[string]string{
		"Pod":       "spec.hostNetwork spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName status.nominatedNodeName status.phase status.podIP status.podIPs",
		"Node":      "spec.unschedulable",
		"Namespace": "status.phase",
		"Secret":    "type",
		"Service":   "spec.clusterIP spec.type",
		"Event":     "involvedObject.apiVersion involvedObject.fieldPath involvedObject.kind involvedObject.name involvedObject.namespace involvedObject.resourceVersion involvedObject.uid reason reportingComponent source type",
	}
	for name, fields := range want {
		k := byName(t, name)
		if got := strings.Join(keys(k.Fields(k.New())), " "); got != fields {
			t.Errorf("%s selects by %s, want %s", name, got, fields)
		}
	}
}

func TestQOSClass(t *testing.T) {
	for _, c := range []struct{ resources, want string }{
		{"", "BestEffort"},
		{"requests: {cpu: 1}", "Burstable"},
		{"requests: {cpu: 1, memory: 1}, limits: {cpu: 1, memory: 1}", "Guaranteed"},
		{"limits: {cpu: 1, memory: 1}", "Guaranteed"},
		{"limits: {cpu: 1}", "Burstable"},
		{"requests: {cpu: 1, memory: 1}, limits: {cpu: 2, memory: 1}", "Burstable"},
		{"requests: {ephemeral-storage: 1}", "BestEffort"},
	} {
		p := created(t, byName(t, "Pod"), container("resources: {"+c.resources+"}"))
		if got := p.(*corev1.Pod).Status.QOSClass; string(got) != c.want {
			t.Errorf("{%s} is %s, want %s", c.resources, got, c.want)
		}
	}
}

func keys(set map[string]string) []string { return slices.Sorted(maps.Keys(set)) }

func unmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("cannot parse %s: %v", text, err)
	}
}
