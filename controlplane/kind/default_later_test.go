package kind_test

import "maps"

const (
	podDefaults       = "dnsPolicy: ClusterFirst, restartPolicy: Always, securityContext: {}, terminationGracePeriodSeconds: 30, schedulerName: default-scheduler"
	jobPodDefaults    = "dnsPolicy: ClusterFirst, restartPolicy: Never, securityContext: {}, terminationGracePeriodSeconds: 30, schedulerName: default-scheduler"
	containerDefaults = "imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}"
	template          = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: 'x:1'}]}}"
	storedTemplate    = "{metadata: {labels: {a: b}}, spec: {" + podDefaults + ", containers: [{name: c, image: 'x:1', " + containerDefaults + "}]}}"
)

func init() {
	maps.Copy(undefaulted, map[string]bool{"Ingress": true, "RuntimeClass": true, "CertificateSigningRequest": true, "CSINode": true, "VolumeAttachment": true})
	maps.Copy(defaults, map[string]struct{ written, stored string }{
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
	})
}
