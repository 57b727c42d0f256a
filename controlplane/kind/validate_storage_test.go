package kind_test

import "testing"

// What is stored, reached over the network, or bounds what a namespace may use.
func TestValidationOfStorageAndNetworks(t *testing.T) {
	for _, c := range []struct {
		kind, name, yaml string
		want             []string
	}{
		{"ResourceQuota", "scopes", "spec: {hard: {'a b': 1}, scopes: [BestEffort, NotBestEffort, Odd]}", []string{"spec.hard[a b]: " + invalid, "spec.scopes: " + invalid}},
		{"Ingress", "empty", "{}", []string{"spec: " + invalid}},
		{"Ingress", "paths", "spec: {rules: [{host: 1.2.3.4, http: {paths: [{path: a, pathType: Exact, backend: {service: {name: s, port: {number: 80}}}}, {path: /, backend: {}}]}}]}", []string{
			"spec.rules[0].host: " + invalid, "spec.rules[0].http.paths[0].path: " + invalid, "spec.rules[0].http.paths[1].pathType: " + required}},
		{"Ingress", "backend", "spec: {defaultBackend: {service: {name: s}}}", []string{"spec.defaultBackend: " + required}},
		{"Ingress", "ends", "spec: {tls: [{secretName: A}], rules: [{http: {paths: [{path: /a/.., pathType: Prefix, backend: {resource: {kind: K, name: a%b}}}, {path: /, pathType: Odd, backend: {}}]}}]}", []string{
			"spec.rules[0].http.paths[0].path: " + invalid, "spec.rules[0].http.paths[0].backend.resource.name: " + invalid,
			"spec.rules[0].http.paths[1].pathType: " + notSupported, "spec.rules[0].http.paths[1].backend: " + invalid, "spec.tls[0].secretName: " + invalid}},
		{"IngressClass", "controller", "spec: {controller: x}", []string{"spec.controller: " + invalid}},
		{"IngressClass", "parameters", "spec: {controller: a.b/c, parameters: {namespace: n, name: a}}", []string{"spec.parameters.kind: " + required, "spec.parameters.namespace: " + forbidden}},
		{"NetworkPolicy", "peers", "spec: {podSelector: {}, ingress: [{from: [{}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}, podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}], ports: [{endPort: 3}, {port: 5, endPort: 3}]}]}", []string{
			"spec.ingress[0].from[0]: " + required, "spec.ingress[0].from[1]: " + forbidden, "spec.ingress[0].from[2].ipBlock.except[0]: " + invalid,
			"spec.ingress[0].from[1].ipBlock.except[0]: " + invalid, "spec.ingress[0].ports[0].endPort: " + invalid, "spec.ingress[0].ports[1].endPort: " + invalid}},
		{"PersistentVolume", "empty", "{}", []string{"spec.accessModes: " + required, "spec.capacity: " + required, "spec.capacity: " + notSupported, "spec: " + required}},
		{"PersistentVolume", "two sources", volume("nfs: {server: a, path: /x}, hostPath: {path: /}, persistentVolumeReclaimPolicy: Recycle"), []string{
			"spec.nfs: " + forbidden, "spec.persistentVolumeReclaimPolicy: " + forbidden}},
		{"PersistentVolume", "disks", volume("gcePersistentDisk: {pdName: '', partition: 256}"), []string{"spec.persistentDisk.pdName: " + required, "spec.persistentDisk.partition: " + invalid}},
		{"PersistentVolume", "iscsi", volume("iscsi: {targetPortal: a, iqn: odd, lun: 256, chapAuthDiscovery: true, initiatorName: iqn.odd}"), []string{
			"spec.iscsi.iqn: " + invalid, "spec.iscsi.lun: " + invalid, "spec.iscsi.secretRef: " + required, "spec.iscsi.initiatorname: " + invalid}},
		{"PersistentVolume", "azure", volume("azureDisk: {diskName: a, diskURI: b, kind: Managed}"), []string{"spec.azureDisk.diskURI: " + notSupported}},
		{"PersistentVolume", "fibre channel", volume("fc: {targetWWNs: [a], wwids: [b]}"), []string{"spec.fc.targetWWNs: " + invalid, "spec.fc.lun: " + required}},
		{"PersistentVolume", "flex", volume("flexVolume: {driver: '', options: {k8s.io/a: b}}"), []string{"spec.flexVolume.driver: " + required, "spec.flexVolume.options[k8s.io/a]: " + invalid}},
		{"PersistentVolume", "quobyte", volume("quobyte: {registry: a, volume: ''}"), []string{"spec.quobyte.registry: " + invalid, "spec.quobyte.volume: " + required}},
		{"PersistentVolume", "csi", volume("volumeAttributesClassName: '', csi: {driver: a_b, volumeHandle: x, nodeStageSecretRef: {}, nodePublishSecretRef: {name: A}}"), []string{
			"spec.csi.driver: " + invalid, "spec.csi.nodePublishSecretRef.name: " + invalid, "spec.csi.nodePublishSecretRef.namespace: " + required, "spec.volumeAttributesClassName: " + required}},
		{"PersistentVolume", "local", "spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, local: {path: /x}}", []string{"spec.nodeAffinity: " + required}},
		{"PersistentVolumeClaim", "modes", "spec: {accessModes: [ReadWriteOncePod, ReadOnlyMany]}", []string{"spec.accessModes: " + forbidden, "spec.resources[storage]: " + required}},
		{"PersistentVolumeClaim", "sources", "spec: {accessModes: [Odd], resources: {requests: {storage: 0}}, dataSource: {kind: Pod, name: a}, dataSourceRef: {kind: PersistentVolumeClaim, name: b}}", []string{
			"spec.accessModes: " + notSupported, "spec.resources[storage]: " + invalid, "spec.dataSource: " + invalid, "spec: " + invalid}},
		{"StorageClass", "no provisioner", "{}", []string{"provisioner: " + required}},
		{"StorageClass", "topologies", "{provisioner: a/b, parameters: {'': x}, allowedTopologies: [{matchLabelExpressions: [{key: a, values: [x, x]}]}, {matchLabelExpressions: [{key: a, values: [x]}]}]}", []string{
			"parameters: " + invalid, "allowedTopologies[0].matchLabelExpressions[0].values[1]: " + duplicate, "allowedTopologies[1].matchLabelExpressions: " + duplicate}},
		{"RuntimeClass", "handler", "handler: A", []string{"handler: " + invalid}},
		{"RuntimeClass", "scheduling", "{handler: a, overhead: {podFixed: {a: 1}}, scheduling: {nodeSelector: {'a b': c}, tolerations: [{key: a}, {key: a}]}}", []string{
			"overhead.limits[a]: " + invalid, "scheduling.nodeSelector: " + invalid, "scheduling.tolerations[1]: " + duplicate}},
		{"CertificateSigningRequest", "empty", "{}", []string{"spec.request: " + invalid, "spec.usages: " + required, "spec.signerName: " + required}},
		{"CertificateSigningRequest", "usages", "spec: {request: eA==, usages: [client auth, client auth, sail], signerName: a.b/c, expirationSeconds: 599}", []string{
			"spec.request: " + invalid, "spec.usages[1]: " + duplicate, "spec.usages[2]: " + notSupported, "spec.expirationSeconds: " + invalid}},
		{"CertificateSigningRequest", "signers", "spec: {request: eA==, usages: [any], signerName: a/b_}", []string{"spec.request: " + invalid, "spec.signerName: " + invalid}},
		{"CSIDriver", "good", "{metadata: {name: d}, spec: {tokenRequests: [{audience: a}]}}", nil},
		{"CSIDriver", "odd", "{metadata: {name: d}, spec: {volumeLifecycleModes: [Odd], tokenRequests: [{audience: a, expirationSeconds: 1}, {audience: a}], nodeAllocatableUpdatePeriodSeconds: 9}}", []string{
			"spec.volumeLifecycleModes: " + notSupported, "spec.tokenRequests[0].expirationSeconds: " + invalid, "spec.tokenRequests[1].audience: " + duplicate, "spec.nodeAllocatableUpdatePeriodSeconds: " + invalid}},
		{"CSINode", "drivers", "spec: {drivers: [{name: a, nodeID: x, topologyKeys: [x]}, {name: a, topologyKeys: ['', x, x]}]}", []string{
			"spec.drivers[1].nodeID: " + required, "spec.drivers[1].name: " + duplicate, "spec.drivers[1]: " + required, "spec.drivers[1]: " + invalid, "spec.drivers[1]: " + duplicate}},
		{"VolumeAttachment", "good", "spec: {attacher: a, nodeName: x, source: {persistentVolumeName: v}}", nil},
		{"VolumeAttachment", "inline", "spec: {attacher: a, nodeName: x, source: {inlineVolumeSpec: {accessModes: [ReadWriteOnce], capacity: {storage: 1}, nfs: {server: a, path: /x}}}}", []string{
			"spec.source.inlineVolumeSpec.capacity: " + forbidden, "spec.source.inlineVolumeSpec.csi: " + required}},
		{"VolumeAttachment", "empty", "spec: {source: {}}", []string{"spec.attacher: " + required, "spec.source: " + required, "spec.nodeName: " + invalid}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			expect(t, short(validated(k, created(t, k, c.yaml))), c.want)
		})
	}
}

func TestUpdatesOfStorageAndNetworks(t *testing.T) {
	stateful := func(more string) string {
		return "spec: {" + more + " selector: {matchLabels: {a: b}}, template: " + template + "}"
	}
	for _, c := range []struct {
		kind, name, old, now string
		want                 []string
	}{
		{"StatefulSet", "replicas", stateful("replicas: 1,"), stateful("replicas: 2,"), nil},
		{"StatefulSet", "service", stateful("serviceName: a,"), stateful("serviceName: b,"), []string{"spec.serviceName: " + invalid}},
		{"IngressClass", "controller", "spec: {controller: a.b/c}", "spec: {controller: a.b/d}", []string{"spec.controller: " + invalid}},
		{"StorageClass", "parameters", "{provisioner: a/b, parameters: {a: b}}", "{provisioner: a/b, parameters: {a: c}}", []string{"parameters: " + invalid}},
		{"PersistentVolume", "source", volume("nfs: {server: a, path: /x}"), volume("nfs: {server: b, path: /x}"), []string{"spec.persistentvolumesource: " + forbidden}},
		{"PersistentVolume", "affinity", volume("nfs: {server: a, path: /x}, " + affinity("beta.kubernetes.io/os")), volume("nfs: {server: a, path: /x}, " + affinity("kubernetes.io/os")), nil},
		{"RuntimeClass", "handler", "handler: a", "handler: b", []string{"handler: " + invalid}},
		{"CSIDriver", "attach", "spec: {}", "spec: {attachRequired: false, podInfoOnMount: true}", []string{"spec.attachedRequired: " + invalid}},
		{"CSINode", "more", "spec: {drivers: [{name: a, nodeID: x}]}", "spec: {drivers: [{name: a, nodeID: x, allocatable: {count: 3}}, {name: b, nodeID: x}]}", nil},
		{"CSINode", "changed", "spec: {drivers: [{name: a, nodeID: x}]}", "spec: {drivers: [{name: a, nodeID: z}]}", []string{"spec.drivers: " + invalid}},
		{"VolumeAttachment", "node", "spec: {attacher: a, nodeName: x, source: {persistentVolumeName: v}}", "spec: {attacher: a, nodeName: z, source: {persistentVolumeName: v}}", []string{"spec: " + invalid}},
		{"PersistentVolumeClaim", "bound", "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "spec: {accessModes: [ReadWriteOnce], volumeName: v, resources: {requests: {storage: 1Gi}}}", nil},
		{"PersistentVolumeClaim", "mode", "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "spec: {accessModes: [ReadOnlyMany], resources: {requests: {storage: 1Gi}}}", []string{"spec: " + forbidden}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			old, now := created(t, k, c.old), created(t, k, c.now)
			if k.PrepareUpdate != nil {
				k.PrepareUpdate(now, old)
			}
			expect(t, short(k.ValidateUpdate(now, old)), c.want)
		})
	}
}

// volume is a persistent volume with these further fields.
func volume(fields string) string {
	return "spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, " + fields + "}"
}

func affinity(label string) string {
	return "nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: " + label + ", operator: Exists}]}]}}"
}
