package kind_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	podDefaults       = "dnsPolicy: ClusterFirst, restartPolicy: Always, securityContext: {}, terminationGracePeriodSeconds: 30, schedulerName: default-scheduler"
	jobPodDefaults    = "dnsPolicy: ClusterFirst, restartPolicy: Never, securityContext: {}, terminationGracePeriodSeconds: 30, schedulerName: default-scheduler"
	containerDefaults = "imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}"
	template          = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: 'x:1'}]}}"
	storedTemplate    = "{metadata: {labels: {a: b}}, spec: {" + podDefaults + ", containers: [{name: c, image: 'x:1', " + containerDefaults + "}]}}"
)

// defaults are, for each kind, what is written and what the API reference says is stored. Kinds without
// defaults have an entry of their own below, so that a new kind is not forgotten.
var defaults = map[string]struct{ written, stored string }{
	"Pod": {`
metadata: {name: p}
spec:
  serviceAccountName: me
  hostNetwork: true
  initContainers:
  - {name: i, image: "busybox:1.36"}
  containers:
  - name: c
    image: nginx
    ports: [{containerPort: 80}]
    resources: {limits: {cpu: 1500u, memory: 1Gi}, requests: {memory: 1Mi}}
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 81}, periodSeconds: 5}
    lifecycle: {preStop: {httpGet: {port: 80}}}
  - {name: d, image: "example.org/x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
  - {name: e, image: "example.org:5000/x:latest"}
  volumes:
  - name: empty
  - {name: s, secret: {secretName: s}}
  - {name: cm, configMap: {name: cm}}
  - {name: d, downwardAPI: {items: [{path: file, fieldRef: {fieldPath: metadata.name}}]}}
  - {name: p, projected: {sources: [{serviceAccountToken: {path: token}}]}}
  - {name: h, hostPath: {path: /x}}`, `
metadata: {name: p, creationTimestamp: null}
spec:
  serviceAccountName: me
  serviceAccount: me
  hostNetwork: true
  dnsPolicy: ClusterFirst
  restartPolicy: Always
  securityContext: {}
  terminationGracePeriodSeconds: 30
  schedulerName: default-scheduler
  enableServiceLinks: true
  initContainers:
  - {name: i, image: "busybox:1.36", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}}
  containers:
  - name: c
    image: nginx
    imagePullPolicy: Always
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]
    resources: {limits: {cpu: 2m, memory: 1Gi}, requests: {cpu: 2m, memory: 1Mi}}
    env: [{name: IP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}]
    livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    readinessProbe: {grpc: {port: 81, service: ""}, timeoutSeconds: 1, periodSeconds: 5, successThreshold: 1, failureThreshold: 3}
    lifecycle: {preStop: {httpGet: {port: 80, path: /, scheme: HTTP}}}
  - {name: d, image: "example.org/x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}}
  - {name: e, image: "example.org:5000/x:latest", imagePullPolicy: Always, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}}
  volumes:
  - {name: empty, emptyDir: {}}
  - {name: s, secret: {secretName: s, defaultMode: 420}}
  - {name: cm, configMap: {name: cm, defaultMode: 420}}
  - {name: d, downwardAPI: {defaultMode: 420, items: [{path: file, fieldRef: {apiVersion: v1, fieldPath: metadata.name}}]}}
  - {name: p, projected: {defaultMode: 420, sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}]}}
  - {name: h, hostPath: {path: /x, type: ""}}
status: {phase: Pending, qosClass: Burstable}`},
	"Service": {`
metadata: {name: s}
spec:
  type: NodePort
  sessionAffinity: ClientIP
  selector: {a: b}
  ports: [{port: 80}, {port: 81, name: x, targetPort: web, protocol: UDP}]`, `
metadata: {name: s, creationTimestamp: null}
spec:
  type: NodePort
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  selector: {a: b}
  ports: [{port: 80, targetPort: 80, protocol: TCP}, {port: 81, name: x, targetPort: web, protocol: UDP}]
status: {loadBalancer: {}}`},
	"Deployment": {`
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {hostNetwork: true, containers: [{name: c, image: "x:1", ports: [{containerPort: 80}], resources: {limits: {cpu: "1"}}}]}}`, `
metadata: {name: d, creationTimestamp: null}
spec:
  replicas: 1
  revisionHistoryLimit: 10
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}, creationTimestamp: null}
    spec:
      hostNetwork: true
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      securityContext: {}
      terminationGracePeriodSeconds: 30
      schedulerName: default-scheduler
      containers: [{name: c, image: "x:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, ports: [{containerPort: 80, protocol: TCP}], resources: {limits: {cpu: "1"}}}]
status: {}`},
	"ReplicaSet": {`
metadata: {name: r}
spec: {selector: {matchLabels: {a: b}}, template: {spec: {containers: []}}}`, `
metadata: {name: r, creationTimestamp: null}
spec:
  replicas: 1
  selector: {matchLabels: {a: b}}
  template:
    metadata: {creationTimestamp: null}
    spec: {containers: [], dnsPolicy: ClusterFirst, restartPolicy: Always, securityContext: {}, terminationGracePeriodSeconds: 30, schedulerName: default-scheduler}
status: {replicas: 0}`},
	"Namespace": {"metadata: {name: ns}", `
metadata: {name: ns, creationTimestamp: null, labels: {kubernetes.io/metadata.name: ns}}
spec: {finalizers: [kubernetes]}
status: {phase: Active}`},
	"Node": {"{metadata: {name: node}, spec: {podCIDR: 10.0.0.0/24}, status: {capacity: {cpu: '2'}}}", `
metadata: {name: node, creationTimestamp: null}
spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.0.0/24]}
status: {capacity: {cpu: '2'}, allocatable: {cpu: '2'}, daemonEndpoints: {kubeletEndpoint: {Port: 0}}, nodeInfo: {machineID: "", systemUUID: "", bootID: "", kernelVersion: "", osImage: "", containerRuntimeVersion: "", kubeletVersion: "", kubeProxyVersion: "", operatingSystem: "", architecture: ""}}`},
	"Secret": {"{metadata: {name: s}, stringData: {a: b}}", "{metadata: {name: s, creationTimestamp: null}, type: Opaque, data: {a: Yg==}}"},
	"Endpoints": {"{metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}",
		"{metadata: {name: e, creationTimestamp: null}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80, protocol: TCP}]}]}"},
	"EndpointSlice": {"{metadata: {name: e}, addressType: IPv4, ports: [{port: 80}]}",
		"{metadata: {name: e, creationTimestamp: null}, addressType: IPv4, ports: [{name: '', port: 80, protocol: TCP}]}"},
	"LimitRange": {"{metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: '2'}, min: {memory: 1Mi}}]}}", `
metadata: {name: l, creationTimestamp: null}
spec: {limits: [{type: Container, max: {cpu: '2'}, min: {memory: 1Mi}, default: {cpu: '2'}, defaultRequest: {cpu: '2', memory: 1Mi}}]}`},
	"RoleBinding": {"{metadata: {name: b}, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s, namespace: ns}]}", `
metadata: {name: b, creationTimestamp: null}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: u}, {kind: ServiceAccount, name: s, namespace: ns}]`},
	"ClusterRoleBinding": {"{metadata: {name: b}, roleRef: {kind: ClusterRole, name: r}, subjects: [{kind: Group, name: g}]}", `
metadata: {name: b, creationTimestamp: null}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: g}]`},
	"CustomResourceDefinition": {`metadata: {name: as.example.com}
spec: {group: example.com, scope: Cluster, names: {plural: as, kind: A}, versions: [{name: v1, served: true, storage: true}]}`, `metadata: {name: as.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: as, singular: a, kind: A, listKind: AList}
  conversion: {strategy: None}
  versions: [{name: v1, served: true, storage: true}]
status: {acceptedNames: {kind: "", plural: ""}, conditions: null, storedVersions: [v1]}`},
	"PriorityClass": {"{metadata: {name: p}, value: 3}", "{metadata: {name: p, generation: 1, creationTimestamp: null}, value: 3, preemptionPolicy: PreemptLowerPriority}"},
	"DaemonSet": {"{metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}, template: " + template + "}}", `
metadata: {name: d, annotations: {deprecated.daemonset.template.generation: "1"}}
spec:
  selector: {matchLabels: {a: b}}
  revisionHistoryLimit: 10
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}
  template: ` + storedTemplate + `
status: {currentNumberScheduled: 0, desiredNumberScheduled: 0, numberMisscheduled: 0, numberReady: 0}`},
	"StatefulSet": {`
metadata: {name: s}
spec:
  serviceName: s
  selector: {matchLabels: {a: b}}
  template: ` + template + `
  volumeClaimTemplates: [{metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]`, `
metadata: {name: s}
spec:
  serviceName: s
  replicas: 1
  revisionHistoryLimit: 10
  podManagementPolicy: OrderedReady
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0, maxUnavailable: 1}}
  selector: {matchLabels: {a: b}}
  template: ` + storedTemplate + `
  volumeClaimTemplates: [{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem, resources: {requests: {storage: 1Gi}}}, status: {phase: Pending}}]
status: {replicas: 0, availableReplicas: 0}`},
	"Job": {"{metadata: {name: j, uid: u}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'x:1'}]}}}}", `
metadata: {name: j, uid: u}
spec:
  completions: 1
  parallelism: 1
  backoffLimit: 6
  completionMode: NonIndexed
  suspend: false
  manualSelector: false
  podReplacementPolicy: TerminatingOrFailed
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: u}}
  template:
    metadata: {labels: {job-name: j, controller-uid: u, batch.kubernetes.io/job-name: j, batch.kubernetes.io/controller-uid: u}}
    spec: {` + jobPodDefaults + `, containers: [{name: c, image: 'x:1', ` + containerDefaults + `}]}
status: {}`},
	"CronJob": {"{metadata: {name: c}, spec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'x:1'}]}}}}}}", `
metadata: {name: c}
spec:
  schedule: '@daily'
  concurrencyPolicy: Allow
  suspend: false
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 1
  jobTemplate: {metadata: {}, spec: {template: {metadata: {}, spec: {` + jobPodDefaults + `, containers: [{name: c, image: 'x:1', ` + containerDefaults + `}]}}}}
status: {}`},
	"ReplicationController": {"{metadata: {name: r}, spec: {template: " + template + "}}", `
metadata: {name: r, labels: {a: b}}
spec: {replicas: 1, selector: {a: b}, template: ` + storedTemplate + `}
status: {replicas: 0}`},
	"PodTemplate":   {"{metadata: {name: p}, template: " + template + "}", "{metadata: {name: p}, template: " + storedTemplate + "}"},
	"ResourceQuota": {"{metadata: {name: q}, spec: {hard: {cpu: 1500u}}}", "{metadata: {name: q}, spec: {hard: {cpu: 2m}}, status: {}}"},
	"PersistentVolume": {"{metadata: {name: v}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}}}", `
metadata: {name: v}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x, type: ''}, persistentVolumeReclaimPolicy: Retain, volumeMode: Filesystem}
status: {phase: Pending}`},
	"PersistentVolumeClaim": {"{metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}", `
metadata: {name: c}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeMode: Filesystem}
status: {phase: Pending}`},
	"CSIDriver":    {"{metadata: {name: d}, spec: {}}", "{metadata: {name: d}, spec: {attachRequired: true, podInfoOnMount: false, storageCapacity: false, fsGroupPolicy: ReadWriteOnceWithFSType, requiresRepublish: false, seLinuxMount: false, preventPodSchedulingIfMissing: false, volumeLifecycleModes: [Persistent]}}"},
	"StorageClass": {"{metadata: {name: s}, provisioner: a/b}", "{metadata: {name: s}, provisioner: a/b, reclaimPolicy: Delete, volumeBindingMode: Immediate}"},
	"IngressClass": {"{metadata: {name: i}, spec: {controller: a.b/c, parameters: {kind: K, name: x}}}", "{metadata: {name: i}, spec: {controller: a.b/c, parameters: {kind: K, name: x, scope: Cluster}}}"},
	"NetworkPolicy": {"{metadata: {name: p}, spec: {podSelector: {}, egress: [{ports: [{port: 80}]}]}}",
		"{metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Ingress, Egress], egress: [{ports: [{port: 80, protocol: TCP}]}]}}"},
	"HorizontalPodAutoscaler": {"{metadata: {name: h}, spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: d}, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}}}", `
metadata: {name: h}
spec:
  minReplicas: 1
  maxReplicas: 3
  scaleTargetRef: {kind: Deployment, name: d}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
  behavior:
    scaleUp: {stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Pods, value: 4, periodSeconds: 15}, {type: Percent, value: 100, periodSeconds: 15}]}
    scaleDown: {stabilizationWindowSeconds: 5, selectPolicy: Max, policies: [{type: Percent, value: 100, periodSeconds: 15}]}
status: {currentMetrics: null, desiredReplicas: 0}`},
}

// undefaulted are the kinds to which the API adds nothing.
var undefaulted = map[string]bool{
	"ConfigMap": true, "Event": true, "ServiceAccount": true, "ControllerRevision": true, "Lease": true,
	"PodDisruptionBudget": true, "ClusterRole": true, "Role": true, "Ingress": true, "RuntimeClass": true, "CertificateSigningRequest": true,
	"CSINode": true, "VolumeAttachment": true,
}

func TestDefaults(t *testing.T) {
	for _, k := range kind.Builtin().Kinds() {
		t.Run(k.Kind, func(t *testing.T) {
			c, ok := defaults[k.Kind]
			if !ok {
				if k.Default != nil || !undefaulted[k.Kind] {
					t.Fatal("no case says what the defaults are")
				}
				return
			}
			got := created(t, k, c.written)
			got.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
			if v, ok := got.(*corev1.PersistentVolume); ok {
				v.Status.LastPhaseTransitionTime = nil // now
			}
			if diff := cmp.Diff(asMap(t, c.stored), asMap(t, marshal(t, got))); diff != "" {
				t.Errorf("stored differs from the reference (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDefaultsAreNotWrittenAgain sets the defaults of objects that have them from two goroutines, as updates of a status
// do with the spec that they share: the race detector sees what is written.
func TestDefaultsAreNotWrittenAgain(t *testing.T) {
	spec := corev1.PodSpec{
		ServiceAccountName: "web",
		Containers:         []corev1.Container{{Name: "c", Image: "web:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}, LivenessProbe: &corev1.Probe{}}},
		EphemeralContainers: []corev1.EphemeralContainer{
			{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "tools:1"}},
		},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}, {Name: "empty"}},
	}
	for k, obj := range map[*kind.Kind]kind.Object{
		kind.Of[*corev1.Pod]():                   &corev1.Pod{Spec: *spec.DeepCopy()},
		kind.Of[*corev1.ReplicationController](): &corev1.ReplicationController{Spec: corev1.ReplicationControllerSpec{Template: &corev1.PodTemplateSpec{Spec: *spec.DeepCopy()}}},
	} {
		k.Default(obj)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { k.Default(obj) })
		}
		both.Wait()
	}
}

func marshal(t *testing.T, obj any) string {
	t.Helper()
	out, err := yaml.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// asMap parses YAML and drops null values, which JSON of the API writes for unset times.
func asMap(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("cannot parse %s: %v", text, err)
	}
	dropNull(out)
	return out
}

func dropNull(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if value == nil {
				delete(v, key)
				continue
			}
			dropNull(value)
		}
	case []any:
		for _, item := range v {
			dropNull(item)
		}
	}
}
