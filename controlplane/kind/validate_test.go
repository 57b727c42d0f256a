package kind_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const (
	required     = "FieldValueRequired"
	invalid      = "FieldValueInvalid"
	forbidden    = "FieldValueForbidden"
	duplicate    = "FieldValueDuplicate"
	notFound     = "FieldValueNotFound"
	notSupported = "FieldValueNotSupported"
)

func byName(t testing.TB, name string) *kind.Kind {
	t.Helper()
	for _, k := range kind.Builtin().Kinds() {
		if k.Kind == name {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

// container is a pod with one container with these further fields.
func container(fields string) string {
	return "spec: {containers: [{name: c, image: x:1, " + fields + "}]}"
}

func pod(fields string) string {
	return "spec: {containers: [{name: c, image: x:1}], " + fields + "}"
}

// validated returns what is wrong with a new object.
func validated(k *kind.Kind, obj kind.Object) field.ErrorList {
	var errs field.ErrorList
	if k.Validate != nil {
		errs = k.Validate(obj)
	}
	if k.ValidateCreate != nil {
		errs = append(errs, k.ValidateCreate(obj)...)
	}
	return errs
}

func TestValidation(t *testing.T) {
	type test struct {
		kind, name, yaml string
		want             []string // "path: type"; nothing for a valid object
	}
	long := strings.Repeat("x", 1<<20+1)
	for _, c := range []test{
		{"Pod", "good", container("ports: [{containerPort: 80, name: http}]"), nil},
		{"Pod", "no containers", "spec: {}", []string{"spec.containers: " + required}},
		{"Pod", "no image", "spec: {containers: [{name: c}]}", []string{"spec.containers[0].image: " + required}},
		{"Pod", "bad name", "spec: {containers: [{name: C_, image: x}]}", []string{"spec.containers[0].name: " + invalid}},
		{"Pod", "two of a name", "spec: {containers: [{name: c, image: x}, {name: c, image: x}]}", []string{"spec.containers[1].name: " + duplicate}},
		{"Pod", "init and container of a name", "spec: {initContainers: [{name: c, image: x}], containers: [{name: c, image: x}]}", []string{"spec.initContainers[0].name: " + duplicate}},
		{"Pod", "restart policy", pod("restartPolicy: Sometimes"), []string{"spec.restartPolicy: " + notSupported}},
		{"Pod", "port out of range", container("ports: [{containerPort: 70000}]"), []string{"spec.containers[0].ports[0].containerPort: " + invalid}},
		{"Pod", "port missing", container("ports: [{name: a}]"), []string{"spec.containers[0].ports[0].containerPort: " + required}},
		{"Pod", "port name twice", container("ports: [{containerPort: 1, name: a}, {containerPort: 2, name: a}]"), []string{"spec.containers[0].ports[1].name: " + duplicate}},
		{"Pod", "host port twice", container("ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]"), []string{"spec.containers[0].ports[1].hostPort: " + duplicate}},
		{"Pod", "host port differs on host network", "spec: {hostNetwork: true, containers: [{name: c, image: x, ports: [{containerPort: 1, hostPort: 2}]}]}", []string{"spec.containers[0].ports[0].hostPort: " + invalid}},
		{"Pod", "env name", container("env: [{name: 'a=b'}]"), []string{"spec.containers[0].env[0].name: " + invalid}},
		{"Pod", "env value and source", container("env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: s, key: k}}}]"), []string{"spec.containers[0].env[0].valueFrom: " + invalid}},
		{"Pod", "env unknown field", container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.nope}}}]"), []string{"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: " + invalid}},
		{"Pod", "env unsupported field", container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]"), []string{"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: " + notSupported}},
		{"Pod", "env label", container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['a/b']\"}}}]"), nil},
		{"Pod", "env no key", container("env: [{name: A, valueFrom: {configMapKeyRef: {name: s}}}]"), []string{"spec.containers[0].env[0].valueFrom.configMapKeyRef.key: " + required}},
		{"Pod", "env resource", container("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.gpu}}}]"), []string{"spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: " + notSupported}},
		{"Pod", "env divisor", container("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}}}]"), []string{"spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: " + invalid}},
		{"Pod", "envFrom empty", container("envFrom: [{prefix: A}]"), []string{"spec.containers[0].envFrom: " + invalid}},
		{"Pod", "envFrom both", container("envFrom: [{configMapRef: {name: a}, secretRef: {name: b}}]"), []string{"spec.containers[0].envFrom: " + invalid}},
		{"Pod", "mount of no volume", container("volumeMounts: [{name: v, mountPath: /v}]"), []string{"spec.containers[0].volumeMounts[0].name: " + notFound}},
		{"Pod", "two mounts at a place", "spec: {volumes: [{name: v}], containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]}]}", []string{"spec.containers[0].volumeMounts[1].mountPath: " + invalid}},
		{"Pod", "sub path leaves", "spec: {volumes: [{name: v}], containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]}]}", []string{"spec.containers[0].volumeMounts.subPath: " + invalid}},
		{"Pod", "propagation", "spec: {volumes: [{name: v}], containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]}", []string{"spec.containers[0].volumeMounts.mountPropagation: " + forbidden}},
		{"Pod", "request over limit", container("resources: {requests: {cpu: 2}, limits: {cpu: 1}}"), []string{"spec.containers[0].resources.requests: " + invalid}},
		{"Pod", "negative request", container("resources: {requests: {cpu: -1}}"), []string{"spec.containers[0].resources.requests[cpu]: " + invalid}},
		{"Pod", "unknown resource", container("resources: {requests: {gpu: 1}}"), []string{"spec.containers[0].resources.requests[gpu]: " + invalid}},
		{"Pod", "extended without limit", container("resources: {requests: {example.com/gpu: 1}}"), []string{"spec.containers[0].resources.limits: " + required}},
		{"Pod", "half an extended", container("resources: {limits: {example.com/gpu: 500m}}"), []string{"spec.containers[0].resources.limits[example.com/gpu]: " + invalid, "spec.containers[0].resources.requests[example.com/gpu]: " + invalid}},
		{"Pod", "probe without handler", container("livenessProbe: {periodSeconds: 1}"), []string{"spec.containers[0].livenessProbe: " + required}},
		{"Pod", "probe with two", container("livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}"), []string{"spec.containers[0].livenessProbe.tcpSocket: " + forbidden}},
		{"Pod", "liveness successes", container("livenessProbe: {exec: {command: [a]}, successThreshold: 2}"), []string{"spec.containers[0].livenessProbe.successThreshold: " + invalid}},
		{"Pod", "readiness grace", container("readinessProbe: {exec: {command: [a]}, terminationGracePeriodSeconds: 2}"), []string{"spec.containers[0].readinessProbe.terminationGracePeriodSeconds: " + invalid}},
		{"Pod", "exec without command", container("livenessProbe: {exec: {}}"), []string{"spec.containers[0].livenessProbe.exec.command: " + required}},
		{"Pod", "http header", container("livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: 'a b'}]}}"), []string{"spec.containers[0].livenessProbe.httpGet.httpHeaders: " + invalid}},
		{"Pod", "hook sleeps too long", container("lifecycle: {preStop: {sleep: {seconds: 99}}}"), []string{"spec.containers[0].lifecycle.preStop.sleep: " + invalid}},
		{"Pod", "probe of an init container", "spec: {initContainers: [{name: i, image: x, livenessProbe: {exec: {command: [a]}}}], containers: [{name: c, image: x}]}", []string{"spec.initContainers[0].livenessProbe: " + forbidden}},
		{"Pod", "probe of a sidecar", "spec: {initContainers: [{name: i, image: x, restartPolicy: Always, livenessProbe: {exec: {command: [a]}}}], containers: [{name: c, image: x}]}", nil},
		{"Pod", "pull policy", container("imagePullPolicy: Maybe"), []string{"spec.containers[0].imagePullPolicy: " + notSupported}},
		{"Pod", "privileged without escalation", container("securityContext: {privileged: true, allowPrivilegeEscalation: false}"), []string{"spec.containers[0].securityContext: " + invalid}},
		{"Pod", "user", container("securityContext: {runAsUser: -1}"), []string{"spec.containers[0].securityContext.runAsUser: " + invalid}},
		{"Pod", "seccomp profile", container("securityContext: {seccompProfile: {type: Localhost}}"), []string{"spec.containers[0].securityContext.seccompProfile.localhostProfile: " + required}},
		{"Pod", "sysctl", pod("securityContext: {sysctls: [{name: 'a..b', value: '1'}]}"), []string{"spec.securityContext.sysctls[0].name: " + invalid}},
		{"Pod", "volume twice", pod("volumes: [{name: a}, {name: a}]"), []string{"spec.volumes[1].name: " + duplicate}},
		{"Pod", "volume of two sorts", pod("volumes: [{name: a, emptyDir: {}, hostPath: {path: /x}}]"), []string{"spec.volumes[0].hostPath: " + forbidden}},
		{"Pod", "secret volume", pod("volumes: [{name: a, secret: {defaultMode: 01000, items: [{path: ../x, key: a}]}}]"), []string{"spec.volumes[0].secret.secretName: " + required, "spec.volumes[0].secret.defaultMode: " + invalid, "spec.volumes[0].secret.items[0].path: " + invalid}},
		{"Pod", "projected token", pod("serviceAccountName: s, volumes: [{name: a, projected: {sources: [{serviceAccountToken: {expirationSeconds: 5, path: t}}]}}]"), []string{"spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: " + invalid}},
		{"Pod", "downward volume", pod("volumes: [{name: a, downwardAPI: {items: [{path: x}]}}]"), []string{"spec.volumes[0].downwardAPI: " + required}},
		{"Pod", "host path type", pod("volumes: [{name: a, hostPath: {path: /a/../b, type: Moon}}]"), []string{"spec.volumes[0].hostPath.path: " + invalid, "spec.volumes[0].hostPath.type: " + notSupported}},
		{"Pod", "toleration", pod("tolerations: [{operator: Equal, value: x}, {key: a, operator: Exists, value: b}, {key: a, tolerationSeconds: 3}]"), []string{"spec.tolerations[0].operator: " + invalid, "spec.tolerations[1].operator: " + invalid, "spec.tolerations[2].effect: " + invalid}},
		{"Pod", "node affinity", pod("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}"), []string{"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: " + required}},
		{"Pod", "pod affinity", pod("affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {}}]}}"), []string{
			"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: " + invalid,
			"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: " + required,
			"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: " + invalid}},
		{"Pod", "spread", pod("topologySpreadConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: Never}]"), []string{"spec.topologySpreadConstraints[0].maxSkew: " + invalid, "spec.topologySpreadConstraints[0].whenUnsatisfiable: " + notSupported}},
		{"Pod", "dns none", pod("dnsPolicy: None"), []string{"spec.dnsConfig: " + required}},
		{"Pod", "dns config", pod("dnsConfig: {nameservers: [a, 1.1.1.1, 1.1.1.2, 1.1.1.3]}"), []string{"spec.dnsConfig.nameservers: " + invalid, "spec.dnsConfig.nameservers[0]: " + invalid}},
		{"Pod", "host users", pod("hostUsers: false, hostPID: true"), []string{"spec.HostPID: " + forbidden}},
		{"Pod", "hostname", pod("hostname: a.b"), []string{"spec.hostname: " + invalid}},
		{"Pod", "deadline", pod("activeDeadlineSeconds: 0"), []string{"spec.activeDeadlineSeconds: " + invalid}},
		{"Pod", "gate on a node", pod("nodeName: n, schedulingGates: [{name: a}]"), []string{"spec.nodeName: " + forbidden}},
		{"Pod", "ephemeral target", pod("ephemeralContainers: [{name: e, image: x, targetContainerName: z, ports: [{containerPort: 1}]}]"), []string{
			"spec.ephemeralContainers[0].targetContainerName: " + notFound, "spec.ephemeralContainers[0].ports: " + forbidden, "spec.ephemeralContainers: " + forbidden}},
		{"Pod", "restart rules", "spec: {initContainers: [{name: i, image: x, restartPolicyRules: [{action: Restart}]}], containers: [{name: c, image: x, restartPolicy: Never, restartPolicyRules: [{action: Nope, exitCodes: {operator: In}}, {action: Restart}]}]}", []string{
			"spec.initContainers[0].restartPolicy: " + required, "spec.containers[0].restartPolicyRules[0].action: " + notSupported, "spec.containers[0].restartPolicyRules[1].exitCodes: " + required}},
		{"Pod", "restart of an init container to resize it", "spec: {initContainers: [{name: i, image: x, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}], containers: [{name: c, image: x}]}", []string{"spec.initContainers[0].resizePolicy[0].restartPolicy: " + invalid}},
		{"Pod", "resize of a pod that ends", pod("restartPolicy: Never, initContainers: [{name: i, image: x, restartPolicy: Always, resizePolicy: [{resourceName: gpu, restartPolicy: RestartContainer}]}]"), []string{
			"spec.initContainers[0].resizePolicy: " + notSupported, "spec.initContainers[0].resizePolicy: " + invalid}},
		{"Pod", "device", pod("volumes: [{name: v, emptyDir: {}}], initContainers: [{name: i, image: x, volumeDevices: [{name: v, devicePath: /a/../b}, {name: v}]}]"), []string{
			"spec.initContainers[0].volumeDevices[0].name: " + invalid, "spec.initContainers[0].volumeDevices[0].devicePath: " + invalid,
			"spec.initContainers[0].volumeDevices[1].name: " + invalid, "spec.initContainers[0].volumeDevices[1].devicePath: " + required}},
		{"Pod", "mount of a device", pod("volumes: [{name: v, persistentVolumeClaim: {claimName: c}}], initContainers: [{name: i, image: x, volumeDevices: [{name: v, devicePath: /v}], volumeMounts: [{name: v, mountPath: /v}]}]"), []string{
			"spec.initContainers[0].volumeMounts[0].name: " + invalid, "spec.initContainers[0].volumeMounts[0].mountPath: " + invalid,
			"spec.initContainers[0].volumeDevices[0].name: " + invalid, "spec.initContainers[0].volumeDevices[0].devicePath: " + invalid}},
		{"Pod", "huge pages", container("resources: {limits: {hugepages-2Mi: 3Mi}}"), []string{"spec.containers[0].resources.limits[hugepages-2Mi]: " + invalid,
			"spec.containers[0].resources.requests[hugepages-2Mi]: " + invalid, "spec.containers[0].resources: " + forbidden}},
		{"Pod", "claims of a container", container("resources: {claims: [{name: a}, {name: a, request: r}, {}]}"), []string{
			"spec.containers[0].resources.claims[0]: " + notFound, "spec.containers[0].resources.claims[1]: " + notFound,
			"spec.containers[0].resources.claims[1]: " + duplicate, "spec.containers[0].resources.claims[2]: " + required}},
		{"Pod", "claims", pod("resourceClaims: [{name: a, resourceClaimName: A, resourceClaimTemplateName: b}, {name: a}]"), []string{"spec.resourceClaims[0]: " + invalid,
			"spec.resourceClaims[0].resourceClaimName: " + invalid, "spec.resourceClaims[1].name: " + duplicate, "spec.resourceClaims[1]: " + invalid}},
		{"Pod", "resources of the pod", "spec: {resources: {limits: {cpu: 1, example.com/gpu: 1}, requests: {cpu: 1}}, containers: [{name: c, image: x, resources: {limits: {cpu: 2}}}]}", []string{
			"spec.resources.limits[example.com/gpu]: " + notSupported, "spec.resources.requests[cpu]: " + invalid, "spec.resources.containers[0][cpu].limits: " + invalid}},
		{"Pod", "host sysctl", pod("hostNetwork: true, hostIPC: true, securityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}, {name: kernel.sem, value: '1'}]}"), []string{
			"spec.securityContext.sysctls[0].name: " + invalid, "spec.securityContext.sysctls[1].name: " + invalid}},
		{"Pod", "capability without escalation", container("securityContext: {allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}}"), []string{"spec.containers[0].securityContext: " + invalid}},
		{"Pod", "app armor", pod("securityContext: {appArmorProfile: {type: Localhost, localhostProfile: ' a'}}"), []string{"spec.securityContext.appArmorProfile.localhostProfile: " + invalid}},
		{"Pod", "windows options", pod("os: {name: linux}, securityContext: {windowsOptions: {runAsUserName: 'a\\b\\c'}}"), []string{
			"spec.securityContext.windowsOptions.runAsUserName: " + invalid, "spec.securityContext.windowsOptions: " + forbidden}},
		{"Pod", "linux options", pod("os: {name: windows}, hostPID: true, securityContext: {runAsUser: 1}"), []string{"spec.hostPID: " + forbidden, "spec.securityContext.runAsUser: " + forbidden}},
		{"Pod", "host processes", pod("securityContext: {windowsOptions: {hostProcess: true}}"), []string{"spec.hostNetwork: " + invalid}},
		{"Pod", "other system", pod("os: {name: plan9}"), []string{"spec.os: " + notSupported}},
		{"Pod", "host name", pod("hostnameOverride: a_b, hostNetwork: true, setHostnameAsFQDN: true"), []string{"spec.hostnameOverride: " + forbidden, "spec.hostnameOverride: " + invalid}},
		{"Pod", "host aliases", pod("hostAliases: [{ip: 010.0.0.1, hostnames: [A]}]"), []string{"spec.hostAliases[0].ip: " + invalid, "spec.hostAliases[0].hostnames[0]: " + invalid}},
		{"Pod", "image with space", "spec: {containers: [{name: c, image: ' x'}]}", []string{"spec.containers[0].image: " + invalid}},
		{"Pod", "file of variables", pod("volumes: [{name: v, configMap: {name: c}}], initContainers: [{name: i, image: x, env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: ../a, key: k}}}]}]"), []string{
			"spec.initContainers[0].env[0].valueFrom.fileKeyRef.path: " + invalid, "spec.initContainers[0].env[0].valueFrom.fileKeyRef.volumeName: " + invalid}},
		{"Pod", "numeric toleration", pod("tolerations: [{key: a, operator: Gt, value: '1'}]"), []string{"spec.tolerations[0].operator: " + notSupported}},
		{"Pod", "label keys", "metadata: {labels: {a: b}}\nspec: {containers: [{name: c, image: x}], topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}, matchLabelKeys: [a]}]}", []string{"spec.topologySpreadConstraints[0][0]: " + invalid}},
		{"Pod", "storage systems", pod("volumes: [{name: a, iscsi: {targetPortal: p, iqn: x, lun: 256}}, {name: b, fc: {targetWWNs: [a]}}, {name: c, azureDisk: {diskName: d, diskURI: u, kind: Managed}}, {name: d, quobyte: {registry: r, volume: v}}, {name: e, csi: {driver: a_b}}, {name: f, flexVolume: {driver: d, options: {k8s.io/a: b}}}]"), []string{
			"spec.volumes[0].iscsi.iqn: " + invalid, "spec.volumes[0].iscsi.lun: " + invalid, "spec.volumes[1].fc.lun: " + required, "spec.volumes[2].azureDisk.diskURI: " + notSupported,
			"spec.volumes[3].quobyte.registry: " + invalid, "spec.volumes[4].csi.driver: " + invalid, "spec.volumes[5].flexVolume.options[k8s.io/a]: " + invalid}},
		{"Pod", "claim that is made", "metadata: {name: p}\nspec: {containers: [{name: c, image: x}], volumes: [{name: a, ephemeral: {volumeClaimTemplate: {metadata: {name: x}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}}}}}, {name: b, persistentVolumeClaim: {claimName: p-a}}]}", []string{
			"spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: " + forbidden, "spec.volumes[1].persistentVolumeClaim.claimName: " + invalid}},
		{"Pod", "projected certificates", pod("volumes: [{name: a, projected: {sources: [{podCertificate: {signerName: a.b/c, keyType: DSA, maxExpirationSeconds: 60}}, {clusterTrustBundle: {path: ../t}}]}}]"), []string{
			"spec.volumes[0].projected.sources[0].podCertificate.keyType: " + notSupported, "spec.volumes[0].projected.sources[0].podCertificate.maxExpirationSeconds: " + invalid,
			"spec.volumes[0].projected.sources[0].podCertificate: " + required, "spec.volumes[0].projected.sources[1].clusterTrustBundle: " + required, "spec.volumes[0].projected.sources[1].clusterTrustBundle.path: " + invalid}},
		{"Pod", "annotations", "metadata: {annotations: {kubernetes.io/config.mirror: x, controller.kubernetes.io/pod-deletion-cost: '01', seccomp.security.alpha.kubernetes.io/pod: x, container.apparmor.security.beta.kubernetes.io/z: x}}\nspec: {containers: [{name: c, image: x}]}", []string{
			"metadata.annotations[kubernetes.io/config.mirror]: " + invalid, "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: " + invalid,
			"metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: " + invalid, "metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: " + invalid}},
		{"Pod", "profiles differ", "metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}\nspec: {securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, image: x}]}", []string{"spec.securityContext.seccompProfile.type: " + forbidden}},
		{"Pod", "old profile becomes a field", "metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}\nspec: {containers: [{name: c, image: x}]}", nil},

		{"Service", "good", "spec: {ports: [{port: 80}]}", nil},
		{"Service", "no ports", "spec: {}", []string{"spec.ports: " + required}},
		{"Service", "headless without ports", "spec: {clusterIP: None, clusterIPs: [None]}", nil},
		{"Service", "type", "spec: {type: Moon, ports: [{port: 80}]}", []string{"spec.type: " + notSupported}},
		{"Service", "names of several ports", "spec: {ports: [{port: 80}, {port: 81, name: x}]}", []string{"spec.ports[0].name: " + required}},
		{"Service", "ports twice", "spec: {ports: [{port: 80, name: a}, {port: 80, name: a}]}", []string{"spec.ports[1]: " + duplicate, "spec.ports[1].name: " + duplicate}},
		{"Service", "addresses", "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2, 010.0.0.3], ipFamilies: [IPv4, IPv4], ports: [{port: 80}]}", []string{
			"spec.clusterIPs: " + invalid, "spec.clusterIPs[1]: " + invalid, "spec.ipFamilies[1]: " + duplicate}},
		{"Service", "sources", "spec: {type: LoadBalancer, loadBalancerSourceRanges: [' 10.0.0.0/8 ', 10.1.2.3/8], ports: [{port: 80}]}", []string{"spec.LoadBalancerSourceRanges[1]: " + invalid}},
		{"Service", "hints", "{metadata: {annotations: {service.kubernetes.io/topology-aware-hints: auto, service.kubernetes.io/topology-mode: none}}, spec: {ports: [{port: 80}]}}", []string{
			"metadata.annotations[service.kubernetes.io/topology-mode]: " + invalid}},
		{"Service", "port", "spec: {ports: [{port: 0}]}", []string{"spec.ports[0].port: " + invalid, "spec.ports[0].targetPort: " + invalid}},
		{"Service", "node port of ClusterIP", "spec: {ports: [{port: 80, nodePort: 30000}]}", []string{"spec.ports[0].nodePort: " + forbidden}},
		{"Service", "external name", "spec: {type: ExternalName, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}", []string{"spec.externalName: " + required, "spec.clusterIPs: " + forbidden}},
		{"Service", "node port without address", "spec: {type: NodePort, clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}", []string{"spec.clusterIPs[0]: " + invalid}},
		{"Service", "affinity seconds", "spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 100000}}, ports: [{port: 80}]}", []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: " + invalid}},
		{"Service", "external policy", "spec: {externalTrafficPolicy: Local, ports: [{port: 80}]}", []string{"spec.externalTrafficPolicy: " + invalid}},
		{"Service", "external ip", "spec: {externalIPs: [127.0.0.1], ports: [{port: 80}]}", []string{"spec.externalIPs[0]: " + invalid}},
		{"Service", "health check port", "spec: {healthCheckNodePort: 30000, ports: [{port: 80}]}", []string{"spec.healthCheckNodePort: " + invalid}},
		{"Service", "class without balancer", "spec: {loadBalancerClass: a/b, ports: [{port: 80}]}", []string{"spec.loadBalancerClass: " + forbidden}},

		{"Deployment", "selector misses", "spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: x}]}}}", []string{"spec.template.metadata.labels: " + invalid}},
		{"Deployment", "no selector", "spec: {template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: x}]}}}", []string{"spec.selector: " + required, "spec.template.metadata.labels: " + invalid}},
		{"Deployment", "all at once", "spec: {replicas: -1, minReadySeconds: -1, progressDeadlineSeconds: -5, strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}", []string{
			"spec.replicas: " + invalid, "spec.minReadySeconds: " + invalid, "spec.progressDeadlineSeconds: " + invalid,
			"spec.strategy.rollingUpdate.maxUnavailable: " + invalid, "spec.template.spec.restartPolicy: " + notSupported}},
		{"Deployment", "recreate with parameters", "spec: {strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}", []string{"spec.strategy.rollingUpdate: " + forbidden}},
		{"ReplicaSet", "template", "spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}", []string{"spec.template.spec.containers: " + required}},
		{"ControllerRevision", "no data", "revision: -1", []string{"data: " + required, "revision: " + invalid}},

		{"ConfigMap", "key", "data: {'a b': x}", []string{"data[a b]: " + invalid}},
		{"ConfigMap", "key twice", "{data: {a: x}, binaryData: {a: eA==}}", []string{"data[a]: " + invalid}},
		{"ConfigMap", "size", "data: {a: " + long + "}", []string{"[]: FieldValueTooLong"}},
		{"Secret", "key", "stringData: {'a b': x}", []string{"data[a b]: " + invalid}},
		{"Secret", "tls", "type: kubernetes.io/tls", []string{"data[tls.crt]: " + required, "data[tls.key]: " + required}},
		{"Secret", "docker", "{type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: '{'}}", []string{"data[.dockerconfigjson]: " + invalid}},
		{"Secret", "token", "type: kubernetes.io/service-account-token", []string{"metadata.annotations[kubernetes.io/service-account.name]: " + required}},
		{"ServiceAccount", "good", "{}", nil},
		{"Namespace", "finalizer", "spec: {finalizers: ['a b']}", []string{"spec.finalizers: " + invalid}},
		{"Node", "taints", "spec: {taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}, {key: b, effect: Boo}]}", []string{"metadata.taints[1]: " + duplicate, "metadata.taints[2].effect: " + notSupported}},
		{"Node", "features", "status: {declaredFeatures: [B, a, B], capacity: {pods: '1.5', cpu: '-1'}, allocatable: {}, nodeInfo: {swap: {capacity: 0}}}", []string{
			"status.declaredFeatures[1]: " + invalid, "status.declaredFeatures[2]: " + invalid, "status.capacity.pods: " + invalid, "status.capacity.cpu: " + invalid,
			"metadata.nodeSwapStatus.capacity: " + invalid}},
		{"Node", "families", "spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.0.0/24, 10.1.0.0/24]}", []string{"spec.podCIDRs: " + invalid}},
		{"Node", "range", "spec: {podCIDR: 10.0.0.1}", []string{"spec.podCIDRs[0]: " + invalid}},
		{"Event", "namespace", "{metadata: {namespace: a}, involvedObject: {namespace: b}}", []string{"involvedObject.namespace: " + invalid}},
		{"Event", "new form", "{metadata: {namespace: a}, involvedObject: {namespace: a}, eventTime: '2026-01-01T00:00:00.000000Z'}", []string{
			"reportingComponent: " + required, "reportingComponent: " + invalid, "reportingInstance: " + required, "action: " + required, "reason: " + required}},
		{"Lease", "duration", "spec: {leaseDurationSeconds: 0, leaseTransitions: -1}", []string{"spec.leaseDurationSeconds: " + invalid, "spec.leaseTransitions: " + invalid}},
		{"Endpoints", "address", "subsets: [{addresses: [{ip: 127.0.0.1}], ports: [{port: 0}]}]", []string{"subsets[0].addresses[0].ip: " + invalid, "subsets[0].ports[0].port: " + invalid}},
		{"Endpoints", "empty", "subsets: [{ports: [{port: 1}]}]", []string{"subsets[0]: " + required}},
		{"EndpointSlice", "address", "{addressType: IPv4, endpoints: [{addresses: ['::1']}, {addresses: []}], ports: [{port: 1}, {port: 2}]}", []string{
			"endpoints[0].addresses: " + invalid, "endpoints[0].addresses[0]: " + invalid, "endpoints[1].addresses: " + required, "ports[1].name: " + duplicate}},
		{"EndpointSlice", "hints", "{addressType: IPv4, endpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}, {name: a}], forNodes: [{name: A}]}}]}", []string{
			"endpoints[0].hints.forZones[1].name: " + duplicate, "endpoints[0].hints.forNodes[0].name: " + invalid}},
		{"EndpointSlice", "type", "endpoints: []", []string{"addressType: " + required}},
		{"PodDisruptionBudget", "both", "spec: {minAvailable: 1, maxUnavailable: 150%}", []string{"spec: " + invalid, "spec.maxUnavailable: " + invalid}},
		{"PriorityClass", "value", "{metadata: {name: a}, value: 2000000000}", []string{"value: " + forbidden}},
		{"PriorityClass", "system", "{metadata: {name: system-x}, value: 1}", []string{"metadata.name: " + forbidden}},
		{"Role", "rule", "rules: [{apiGroups: ['']}, {verbs: [get], nonResourceURLs: [/x]}]", []string{"rules[0].verbs: " + required, "rules[0].resources: " + required, "rules[1].nonResourceURLs: " + invalid}},
		{"ClusterRole", "aggregation", "aggregationRule: {}", []string{"aggregationRule.clusterRoleSelectors: " + required}},
		{"RoleBinding", "references", "{roleRef: {kind: Moon}, subjects: [{kind: User}, {kind: Moon, name: a}]}", []string{
			"roleRef.kind: " + notSupported, "roleRef.name: " + required, "subjects[0].name: " + required, "subjects[1].kind: " + notSupported}},
		{"ClusterRoleBinding", "account", "{roleRef: {kind: ClusterRole, name: r}, subjects: [{kind: ServiceAccount, name: a}]}", []string{"subjects[0].namespace: " + required}},
		{"LimitRange", "order", "spec: {limits: [{type: Container, min: {cpu: 2}, max: {cpu: 1}}]}", []string{"spec.limits[0].min[cpu]: " + invalid, "spec.limits[0].defaultRequest[cpu]: " + invalid, "spec.limits[0].default[cpu]: " + invalid}},
		{"LimitRange", "names", "spec: {limits: [{type: a, max: {b: 1}}, {type: PersistentVolumeClaim}, {type: Pod, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 3}}]}", []string{
			"spec.limits[0].type: " + invalid, "spec.limits[0].max[b]: " + invalid, "spec.limits[1].limits: " + required, "spec.limits[2].maxLimitRequestRatio[cpu]: " + invalid}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			obj := created(t, k, c.yaml)
			expect(t, short(validated(k, obj)), c.want)
		})
	}
}

// expect compares errors; more errors than named at one place are one.
func expect(t *testing.T, got map[string]bool, want []string) {
	t.Helper()
	for _, w := range want {
		if !got[w] {
			t.Errorf("missing %q", w)
		}
		delete(got, w)
	}
	if len(got) > 0 {
		t.Errorf("not expected: %v", slices.Sorted(maps.Keys(got)))
	}
}

func TestValidationOfUpdates(t *testing.T) {
	two := "metadata: {name: x}\nspec: {selector: {matchLabels: {a: %s}}, template: {metadata: {labels: {a: %s}}, spec: {containers: [{name: c, image: x}]}}}"
	set := func(v string) string { return strings.ReplaceAll(two, "%s", v) }
	nodes := func(terms string) string {
		return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: " + terms + "}]}}}"
	}
	for _, c := range []struct {
		kind, name, old, now string
		want                 []string
	}{
		{"Pod", "image", pod("nodeName: a"), strings.Replace(pod("nodeName: a"), "x:1", "x:2", 1), nil},
		{"Pod", "node", pod("nodeName: a"), pod("nodeName: b"), []string{"spec: " + forbidden}},
		{"Pod", "container added", pod(""), "spec: {containers: [{name: c, image: x}, {name: d, image: x}]}", []string{"spec.containers: " + forbidden}},
		{"Pod", "toleration added", pod("tolerations: [{key: a, operator: Exists}]"), pod("tolerations: [{key: a, operator: Exists}, {key: b, operator: Exists}]"), nil},
		{"Pod", "toleration taken", pod("tolerations: [{key: a, operator: Exists}]"), pod(""), []string{"spec.tolerations: " + forbidden}},
		{"Pod", "deadline shortened", pod("activeDeadlineSeconds: 9"), pod("activeDeadlineSeconds: 8"), nil},
		{"Pod", "deadline lengthened", pod("activeDeadlineSeconds: 9"), pod("activeDeadlineSeconds: 10"), []string{"spec.activeDeadlineSeconds: " + invalid}},
		{"Pod", "gate opened", pod("schedulingGates: [{name: a}]"), pod("nodeSelector: {a: b}"), nil},
		{"Pod", "gate added", pod(""), pod("schedulingGates: [{name: a}]"), []string{"spec.schedulingGates[0].name: " + forbidden}},
		{"Pod", "ephemeral container not through its subresource", pod(""), pod("ephemeralContainers: [{name: e, image: x}]"), []string{"spec: " + forbidden}},
		{"Pod", "gated affinity", pod("schedulingGates: [{name: a}], " + nodes("[{key: a, operator: Exists}]")), pod("schedulingGates: [{name: a}], " + nodes("[{key: a, operator: Exists}, {key: b, operator: Exists}]")), nil},
		{"Pod", "gated affinity widened", pod("schedulingGates: [{name: a}], " + nodes("[{key: a, operator: Exists}]")), pod("schedulingGates: [{name: a}], " + nodes("[{key: b, operator: Exists}]")), []string{
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: " + invalid}},
		{"Pod", "toleration taken back", pod("tolerations: [{key: a}]"), pod(""), []string{"spec.tolerations: " + forbidden}},
		{"Pod", "mirror", pod("nodeName: n"), "metadata: {annotations: {kubernetes.io/config.mirror: x}}\n" + pod("nodeName: n"), []string{"metadata.annotations[kubernetes.io/config.mirror]: " + forbidden}},
		{"Pod", "stored under older rules", pod(nodes("[{key: a, operator: In, values: ['a b']}]")), "metadata: {labels: {a: b}}\n" + pod(nodes("[{key: a, operator: In, values: ['a b']}]")), nil},
		{"Pod", "resources that a client does not know", pod("resources: {limits: {cpu: 1}}"), pod(""), nil},
		{"Deployment", "selector", set("b"), set("c"), []string{"spec.selector: " + invalid}},
		{"ReplicaSet", "selector", set("b"), set("c"), []string{"spec.selector: " + invalid}},
		{"ControllerRevision", "data", "data: {a: 1}", "data: {a: 2}", []string{"data: " + invalid}},
		{"Secret", "type", "type: a", "type: b", []string{"type: " + invalid}},
		{"Secret", "immutable", "{immutable: true, stringData: {a: b}}", "stringData: {a: c}", []string{"immutable: " + forbidden, "data: " + forbidden}},
		{"ConfigMap", "immutable", "{immutable: true, data: {a: b}}", "{immutable: true, data: {a: c}}", []string{"data: " + forbidden}},
		{"Service", "cluster IP", "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 1}]}", "spec: {clusterIP: 10.0.0.2, ports: [{port: 1}]}", []string{"spec.clusterIPs[0]: " + invalid}},
		{"Service", "to external name", "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 1}]}", "spec: {type: ExternalName, externalName: a.b, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}", nil},
		{"Service", "odd address that was there", "spec: {externalIPs: [010.0.0.1], ports: [{port: 1}]}", "spec: {externalIPs: [010.0.0.1, 010.0.0.2], ports: [{port: 1}]}", []string{"spec.externalIPs[1]: " + invalid}},
		{"Service", "balancer class", "spec: {type: LoadBalancer, ports: [{port: 1}]}", "spec: {type: LoadBalancer, loadBalancerClass: a/b, ports: [{port: 1}]}", []string{"spec.loadBalancerClass: " + invalid}},
		{"Node", "provider", "spec: {providerID: a}", "spec: {}", []string{"spec.providerID: " + invalid}},
		{"Node", "range", "spec: {podCIDR: 10.0.0.0/24}", "spec: {podCIDR: 10.0.1.0/24}", []string{"spec.podCIDRs: " + forbidden}},
		{"Node", "taint", "spec: {podCIDR: 10.0.0.0/24}", "spec: {podCIDR: 10.0.0.0/24, taints: [{key: a, effect: NoSchedule}]}", nil},
		{"EndpointSlice", "type", "{addressType: IPv4, endpoints: []}", "{addressType: IPv6, endpoints: []}", []string{"addressType: " + invalid}},
		{"RoleBinding", "role", "roleRef: {kind: Role, name: a}", "roleRef: {kind: Role, name: b}", []string{"roleRef: " + invalid}},
		{"ClusterRoleBinding", "role", "roleRef: {kind: ClusterRole, name: a}", "roleRef: {kind: ClusterRole, name: b}", []string{"roleRef: " + invalid}},
		{"PriorityClass", "value", "value: 1", "value: 2", []string{"value: " + forbidden}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			old, now := created(t, k, c.old), created(t, k, c.now)
			if k.PrepareUpdate != nil {
				k.PrepareUpdate(now, old)
			}
			var errs field.ErrorList
			if k.Validate != nil {
				errs = k.Validate(now)
			}
			expect(t, short(append(errs, k.ValidateUpdate(now, old)...)), c.want)
		})
	}
}

func TestValidationOfStatus(t *testing.T) {
	ended := "\nstatus: {phase: Running, containerStatuses: [{name: c, state: {terminated: {exitCode: 0}}}]}"
	runs := "\nstatus: {phase: Running, podIPs: [{ip: nowhere}], containerStatuses: [{name: c, state: {running: {}}}]}"
	for _, c := range []struct {
		kind, name, old, now string
		want                 []string
	}{
		{"Pod", "revived", pod("restartPolicy: Never") + ended, pod("restartPolicy: Never") + runs, []string{
			"status.containerStatuses[0].state: " + forbidden, "status.podIPs[0]: " + invalid, "status.podIPs: " + invalid}},
		{"Pod", "restarted", pod("restartPolicy: Always") + ended, pod("") + runs, []string{"status.podIPs[0]: " + invalid, "status.podIPs: " + invalid}},
		{"Pod", "restarted by its own policy", "spec: {restartPolicy: Never, containers: [{name: c, image: x, restartPolicy: Always}]}" + ended, "spec: {}" + runs, []string{"status.podIPs[0]: " + invalid, "status.podIPs: " + invalid}},
		{"Deployment", "counts", "{}", "status: {replicas: 1, readyReplicas: 2, availableReplicas: -1}", []string{
			"status.readyReplicas: " + invalid, "status.availableReplicas: " + invalid}},
		{"Deployment", "collisions", "status: {collisionCount: 3}", "status: {collisionCount: 2}", []string{"status.collisionCount: " + invalid}},
		{"ReplicaSet", "counts", "{}", "status: {replicas: 1, fullyLabeledReplicas: 2}", []string{"status.fullyLabeledReplicas: " + invalid}},
		{"Namespace", "phase", "{}", "status: {phase: Terminating}", []string{"status.Phase: " + invalid}},
		{"Node", "address twice", "{}", "status: {addresses: [{type: InternalIP, address: a}, {type: InternalIP, address: a}]}", []string{"status.addresses[1]: " + duplicate}},
		{"Service", "ingress", "{}", "status: {loadBalancer: {ingress: [{ip: x}, {hostname: 1.2.3.4}]}}", []string{
			"status.loadBalancer.ingress: " + forbidden}},
		{"Service", "ingress of a balancer", "spec: {type: LoadBalancer}", "status: {loadBalancer: {ingress: [{ip: x}, {hostname: 1.2.3.4, ipMode: VIP}]}}", []string{
			"status.loadBalancer.ingress[0].ip: " + invalid, "status.loadBalancer.ingress[0].ipMode: " + required,
			"status.loadBalancer.ingress[1].hostname: " + invalid, "status.loadBalancer.ingress[1].ipMode: " + forbidden}},
		{"Ingress", "point", "status: {loadBalancer: {ingress: [{ip: 010.0.0.1}]}}", "status: {loadBalancer: {ingress: [{ip: 010.0.0.1}, {ip: 010.0.0.2}]}}", []string{"status.loadBalancer.ingress[1].ip: " + invalid}},
		{"PersistentVolumeClaim", "resize", "{}", "status: {allocatedResourceStatuses: {storage: Odd}, allocatedResources: {cpu: 1}}", []string{
			"status.allocatedResourceStatuses: " + notSupported, "status.allocatedResources: " + notSupported}},
		{"ValidatingAdmissionPolicy", "conditions and warnings", "{}", "{metadata: {labels: {'a b': c}}, status: {conditions: [{type: X}], typeChecking: {expressionWarnings: [{fieldRef: '{{', warning: w}, {}]}}}", []string{
			"status.typeChecking.expressionWarnings[0].fieldRef: " + invalid, "status.typeChecking.expressionWarnings[1].warning: " + required, "status.typeChecking.expressionWarnings[1].fieldRef: " + required,
			"status.conditions[0].status: " + required, "status.conditions[0].lastTransitionTime: " + required, "status.conditions[0].reason: " + required}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			old, now := k.New(), k.New()
			unmarshal(t, c.old, old)
			unmarshal(t, c.now, now)
			k.Status.PrepareUpdate(now, old)
			expect(t, short(k.Status.Validate(now, old)), c.want)
		})
	}
}
