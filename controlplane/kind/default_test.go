package kind_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
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
}

// undefaulted are the kinds to which the API adds nothing.
var undefaulted = map[string]bool{
	"ConfigMap": true, "Event": true, "ServiceAccount": true, "ControllerRevision": true, "Lease": true,
	"PodDisruptionBudget": true, "ClusterRole": true, "Role": true,
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
