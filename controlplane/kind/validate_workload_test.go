package kind_test

import (
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestValidationOfWorkloads(t *testing.T) {
	deployment := func(more string) string {
		return "spec: {selector: {matchLabels: {a: b}}, template: " + template + more + "}"
	}
	job := func(more string) string {
		return "{metadata: {name: j, uid: u}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}" + more + "}}"
	}
	indexed := func(more string) string { return job(", completionMode: Indexed, completions: 5" + more) }
	cron := func(more string) string {
		return "{metadata: {name: c}, spec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}" + more + "}}"
	}
	scaler := func(more string) string {
		return "spec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}" + more + "}"
	}
	selected := "selector: {matchLabels: {a: b}}, template: " + template
	jobOf := func(more string) string {
		return "{metadata: {name: j, uid: u}, spec: {" + more + " template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}"
	}
	cronOf := func(more string) string {
		return "{metadata: {name: j}, spec: {" + more + ", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}}"
	}
	for _, c := range []struct {
		kind, name, yaml string
		want             []string
	}{
		{"Deployment", "strategy", deployment(", strategy: {type: Odd}"), []string{"spec.strategy: " + notSupported}},
		{"Deployment", "unreadable selector", "spec: {selector: {matchExpressions: [{key: a, operator: Odd}]}, template: {}}", []string{
			"spec.selector.matchExpressions[0].operator: " + invalid, "spec.selector: " + invalid}},
		{"DaemonSet", "no selector", "spec: {template: " + template + "}", []string{"spec.template.metadata.labels: " + invalid}},
		{"DaemonSet", "strategy", deployment(", updateStrategy: {type: Odd}"), []string{"spec.updateStrategy: " + notSupported}},
		{"StatefulSet", "strategy", deployment(", updateStrategy: {type: Odd}"), []string{"spec.updateStrategy: " + invalid}},
		{"StatefulSet", "rolling", deployment(", updateStrategy: {rollingUpdate: {partition: -1, maxUnavailable: 0}}, ordinals: {start: -1}, serviceName: a.b"), []string{
			"spec.updateStrategy.rollingUpdate.partition: " + invalid, "spec.updateStrategy.rollingUpdate.maxUnavailable: " + invalid,
			"spec.ordinals.start: " + invalid, "spec.serviceName: " + invalid}},
		{"ControllerRevision", "data", "data: x", []string{"data: " + required}},
		{"Job", "labels of another", "{metadata: {name: j, uid: u}, spec: {template: {metadata: {labels: {job-name: z}}, spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}", []string{
			"spec.template.metadata.labels[job-name]: " + invalid}},
		{"Job", "manager", job(", managedBy: me"), []string{"spec.managedBy: " + invalid}},
		{"Job", "not indexed", job(", backoffLimitPerIndex: 1, maxFailedIndexes: 1, successPolicy: {rules: []}"), []string{
			"spec.backoffLimitPerIndex: " + invalid, "spec.maxFailedIndexes: " + invalid, "spec.successPolicy: " + invalid}},
		{"Job", "indexes", indexed(", maxFailedIndexes: 6, parallelism: 100001"), []string{
			"spec.backoffLimitPerIndex: " + required, "spec.maxFailedIndexes: " + invalid, "spec.parallelism: " + invalid}},
		{"Job", "success", indexed(", successPolicy: {rules: [{succeededIndexes: '0-1,3', succeededCount: 4}, {}, {succeededIndexes: '3,1'}, {succeededIndexes: '7'}]}"), []string{
			"spec.successPolicy.rules[0].succeededCount: " + invalid, "spec.successPolicy.rules[1]: " + required,
			"spec.successPolicy.rules[2].succeededIndexes: " + invalid, "spec.successPolicy.rules[3].succeededIndexes: " + invalid}},
		{"Job", "failure", job(", podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, containerName: z, values: [2, 0, 2]}}, {onPodConditions: [{type: 'a b', status: Odd}]}, {action: Ignore}]}"), []string{
			"spec.podFailurePolicy.rules[0].action: " + invalid, "spec.podFailurePolicy.rules[0].onExitCodes.containerName: " + invalid,
			"spec.podFailurePolicy.rules[0].onExitCodes.values: " + invalid, "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: " + invalid,
			"spec.podFailurePolicy.rules[0].onExitCodes.values[2]: " + duplicate, "spec.podFailurePolicy.rules[1].action: " + required,
			"spec.podFailurePolicy.rules[1].onPodConditions[0].type: " + invalid, "spec.podFailurePolicy.rules[1].onPodConditions[0].status: " + notSupported,
			"spec.podFailurePolicy.rules[2]: " + invalid}},
		{"CronJob", "zones", cron(", timeZone: Moon/Sea"), []string{"spec.timeZone: " + invalid}},
		{"CronJob", "selector", "{metadata: {name: c}, spec: {schedule: 'TZ=UTC @daily', jobTemplate: {spec: {selector: {}, manualSelector: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}}", []string{
			"spec.schedule: " + invalid, "spec.jobTemplate.spec.selector: " + invalid, "spec.jobTemplate.spec.manualSelector: " + notSupported}},
		{"CronJob", "what makes the parser panic", "{metadata: {name: c}, spec: {schedule: 'TZ=0', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}}", []string{"spec.schedule: " + invalid}},
		{"HorizontalPodAutoscaler", "to zero", scaler(", minReplicas: 0"), []string{"spec.metrics: " + forbidden}},
		{"HorizontalPodAutoscaler", "to zero by an object", scaler(", minReplicas: 0, metrics: [{type: Object, object: {metric: {name: q}, describedObject: {kind: Service, name: a}, target: {type: Value, value: 5}}}]"), nil},
		{"HorizontalPodAutoscaler", "targets", scaler(", metrics: [{type: External, external: {metric: {name: a/b}, target: {type: Value, value: 0, averageValue: 1}}}, {type: Resource, resource: {target: {type: Odd}}, pods: {target: {}}}]"), []string{
			"spec.metrics[0].external.metric.name: " + invalid, "spec.metrics[0].external.target.value: " + invalid, "spec.metrics[0].external.target.value: " + forbidden,
			"spec.metrics[1].pods.metric.name: " + required, "spec.metrics[1].pods.target.type: " + required, "spec.metrics[1].pods.target.type: " + invalid,
			"spec.metrics[1].pods.target.averageValue: " + required, "spec.metrics[1].pods: " + forbidden}},
		{"HorizontalPodAutoscaler", "rules", scaler(", behavior: {scaleUp: {stabilizationWindowSeconds: 3601, policies: [], tolerance: -1}}"), []string{
			"spec.behavior.scaleUp.stabilizationWindowSeconds: " + invalid, "spec.behavior.scaleUp.policies: " + required, "spec.behavior.scaleUp.tolerance: " + invalid}},
		{"ValidatingAdmissionPolicyBinding", "reserved name", "{metadata: {name: a.static.k8s.io}, spec: {policyName: a, validationActions: [Deny]}}", []string{"metadata.name: " + invalid}},
		{"DaemonSet", "good", "spec: {" + selected + "}", nil},
		{"DaemonSet", "neither", "spec: {updateStrategy: {rollingUpdate: {maxUnavailable: 0}}, " + selected + "}", []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: " + required}},
		{"DaemonSet", "both", "spec: {updateStrategy: {rollingUpdate: {maxSurge: 1}}, " + selected + "}", []string{"spec.updateStrategy.rollingUpdate.maxSurge: " + invalid}},
		{"StatefulSet", "claims are volumes", "spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v}]}]}}, volumeClaimTemplates: [{metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}", nil},
		{"StatefulSet", "policies", "spec: {podManagementPolicy: Wild, updateStrategy: {type: OnDelete, rollingUpdate: {partition: -1}}, " + selected + "}", []string{
			"spec.podManagementPolicy: " + invalid, "spec.updateStrategy.rollingUpdate: " + invalid}},
		{"Job", "good", jobOf(""), nil},
		{"Job", "restarts always", "{metadata: {name: j, uid: u}, spec: {template: {spec: {containers: [{name: c, image: x}]}}}}", []string{"spec.template.spec.restartPolicy: " + required}},
		{"Job", "negative", jobOf("parallelism: -1, completions: -1,"), []string{"spec.parallelism: " + invalid, "spec.completions: " + invalid}},
		{"Job", "indexed", jobOf("completionMode: Indexed, parallelism: 1,"), []string{"spec.completions: " + required}},
		{"CronJob", "good", cronOf("schedule: '*/5 0-3,9 * jan-mar mon', timeZone: Europe/Berlin"), nil},
		{"CronJob", "schedule", cronOf("schedule: '61 * * * *', timeZone: Moon/Sea"), []string{"spec.schedule: " + invalid, "spec.timeZone: " + invalid}},
		{"CronJob", "no schedule", cronOf("concurrencyPolicy: Maybe"), []string{"spec.schedule: " + required, "spec.concurrencyPolicy: " + notSupported}},
		{"ReplicationController", "no template", "spec: {}", []string{"spec.selector: " + required, "spec.template: " + required}},
		{"ReplicationController", "good", "spec: {replicas: 3, template: " + template + "}", nil},
		{"PodTemplate", "empty", "{}", []string{"template.spec.containers: " + required}},
		{"HorizontalPodAutoscaler", "bounds", "spec: {minReplicas: 3, maxReplicas: 2, scaleTargetRef: {kind: Deployment}}", []string{"spec.maxReplicas: " + invalid, "spec.scaleTargetRef.name: " + required, "spec.scaleTargetRef.apiVersion: " + invalid}},
		{"HorizontalPodAutoscaler", "metric", "spec: {maxReplicas: 2, scaleTargetRef: {apiVersion: a/b, kind: D, name: d}, metrics: [{type: Pods}, {type: Odd}]}", []string{"spec.metrics[0].pods: " + required, "spec.metrics[1].type: " + notSupported}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			expect(t, short(validated(k, created(t, k, c.yaml))), c.want)
		})
	}
}

func TestUpdatesOfJobs(t *testing.T) {
	job := func(more, status string) string {
		return "{metadata: {name: j, uid: u}, spec: {template: {spec: {restartPolicy: Never" + more + ", containers: [{name: c, image: x}]}}, suspend: true}, status: {" + status + "}}"
	}
	const term = ", affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n]}]}]}}}"
	for _, c := range []struct {
		name, old, now string
		want           []string
	}{
		{"where a suspended one runs", job("", ""), job(", nodeSelector: {a: b}"+term, ""), nil},
		{"what a suspended one runs", job("", ""), job(", hostNetwork: true", ""), []string{"spec.template.spec: " + invalid}},
		{"where a started one runs", job("", "active: 1"), job(", nodeSelector: {a: b}", ""), []string{"spec.template: " + invalid}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := byName(t, "Job")
			old, now := created(t, k, c.old), created(t, k, c.now)
			unmarshal(t, c.old, old)
			expect(t, short(k.ValidateUpdate(now, old)), c.want)
		})
	}
}

func TestStatusOfJobs(t *testing.T) {
	const spec = "spec: {completionMode: Indexed, completions: 5, parallelism: 5, backoffLimitPerIndex: 1}"
	complete := "{type: Complete, status: 'True'}, {type: SuccessCriteriaMet, status: 'True'}"
	for _, c := range []struct {
		name, old, now string
		want           []string
	}{
		{"completes", "startTime: '2026-01-01T00:00:00Z'", "startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T00:00:01Z', succeeded: 5, completedIndexes: 0-4, conditions: [" + complete + "]", nil},
		{"half complete", "active: 1", "active: 1, terminating: 1, conditions: [{type: Complete, status: 'True'}]", []string{
			"status.conditions: " + invalid, "status.completionTime: " + required, "status.startTime: " + required, "status.active: " + invalid, "status.terminating: " + invalid}},
		{"goes back", "failed: 2, succeeded: 2, conditions: [{type: Failed, status: 'True'}]", "failed: 1, succeeded: 1", []string{"status.conditions: " + invalid, "status.failed: " + invalid}},
		{"indexes", "", "completedIndexes: 0-2, failedIndexes: 2-3", []string{"status.failedIndexes: " + invalid}},
		{"unreadable indexes", "", "completedIndexes: a, failedIndexes: 5-6", []string{"status.completedIndexes: " + invalid, "status.failedIndexes: " + invalid}},
		{"broken before", "ready: 2, active: 1, conditions: [{type: Complete, status: 'True'}]", "ready: 2, active: 1, conditions: [{type: Complete, status: 'True'}]", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := byName(t, "Job")
			old, now := k.New(), k.New()
			unmarshal(t, spec+"\nstatus: {"+c.old+"}", old)
			unmarshal(t, spec+"\nstatus: {"+c.now+"}", now)
			expect(t, short(k.Status.Validate(now, old)), c.want)
		})
	}
}

// TestTemplatesKeepWhatWasStored changes workloads whose templates were stored before a rule came that they break.
func TestTemplatesKeepWhatWasStored(t *testing.T) {
	const (
		broken   = "metadata: {labels: {a: b}, annotations: {controller.kubernetes.io/pod-deletion-cost: high}}, spec: {volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: ../t}}]}}], containers: [{name: c, image: x, resources: {limits: {cpu: 1, hugepages-2Mi: 3Mi}}}]"
		replaces = "{spec: {selector: {matchLabels: {a: b}}, template: {" + broken + "}}}}"
		once     = "{metadata: {name: j, uid: u}, spec: {template: {" + broken + ", restartPolicy: Never}}}}"
	)
	for name, yaml := range map[string]string{
		"Deployment": replaces, "ReplicaSet": replaces, "DaemonSet": replaces, "StatefulSet": replaces, "Job": once,
		"ReplicationController": "{spec: {template: {" + broken + "}}}}", "PodTemplate": "{template: {" + broken + "}}}",
		"CronJob": "{spec: {schedule: '@daily', jobTemplate: " + once + "}}",
	} {
		t.Run(name, func(t *testing.T) {
			k := byName(t, name)
			old := created(t, k, yaml)
			if errs := validated(k, old); len(errs) < 3 {
				t.Errorf("a new one is refused for %v, want three faults", errs)
			}
			now := old.DeepCopyObject().(kind.Object)
			now.SetLabels(map[string]string{"c": "d"})
			expect(t, short(k.ValidateUpdate(now, old)), nil)
		})
	}
}
