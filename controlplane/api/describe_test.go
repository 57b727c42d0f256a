package api_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// describedLines are how lines begin, without what aligns them, that say of each kind's sample what it is for.
var describedLines = map[string][]string{
	"mutatingwebhookconfigurations":     {"Failure Policy: Fail", "Name: a.example.com", "none.example.com", "Reinvocation Policy: Never"},
	"validatingwebhookconfigurations":   {"Failure Policy: Fail", "Name: a.example.com", "none.example.com", "Timeout Seconds: 10"},
	"validatingadmissionpolicies":       {"Failure Policy: Fail", "none.example.com", `Expression: object.metadata.name != "a"`},
	"validatingadmissionpolicybindings": {"Policy Name: sample.example.com", "Deny"},
	"configmaps":                        {"Data", "a:", "b"},
	"endpoints":                         {"Addresses: 10.0.0.1", "<unset> 80 TCP"},
	"events":                            {"Kind: Pod", "Reason: Tested", "Message: m"},
	"limitranges":                       {"Container cpu - - 1 1 -"},
	"namespaces":                        {"Status: Active", "No resource quota.", "No LimitRange resource."},
	"nodes":                             {"Roles: <none>", "Taints: <none>", "Unschedulable: false", "Non-terminated Pods: (0 in total)"},
	"pods":                              {"Node: <none>", "Status: Pending", "Image: registry.example/a:1", "QoS Class: BestEffort"},
	"podtemplates":                      {"App: a", "Image: registry.example/a:1"},
	"replicationcontrollers":            {"Selector: app=a", "Replicas: 0 current / 1 desired", "Image: registry.example/a:1"},
	"resourcequotas":                    {"Resource Used Hard"},
	"persistentvolumes":                 {"Status: Pending", "Reclaim Policy: Retain", "Access Modes: RWO", "Capacity: 1Gi", "Path: /x"},
	"persistentvolumeclaims":            {"Status: Pending", "VolumeMode: Filesystem", "Used By: <none>"},
	"secrets":                           {"Type: Opaque", "a: 1 bytes"},
	"serviceaccounts":                   {"Image pull secrets: <none>", "Mountable secrets: <none>"},
	"services":                          {"Selector: app=a", "Type: ClusterIP", "Port: <unset> 80/TCP", "Session Affinity: None"},
	"controllerrevisions":               {"A: b", "Revision: 1"},
	"deployments":                       {"Selector: app=a", "StrategyType: RollingUpdate", "RollingUpdateStrategy: 25% max unavailable, 25% max surge", "Image: registry.example/a:1"},
	"replicasets":                       {"Selector: app=a", "Replicas: 0 current / 1 desired", "Image: registry.example/a:1"},
	"daemonsets":                        {"Selector: app=a", "Desired Number of Nodes Scheduled: 0", "Image: registry.example/a:1"},
	"statefulsets":                      {"Replicas: 1 desired | 0 total", "Update Strategy: RollingUpdate", "Volume Claims: <none>"},
	"jobs":                              {"Parallelism: 1", "Completions: 1", "Completion Mode: NonIndexed", "Image: registry.example/a:1"},
	"cronjobs":                          {"Schedule: * * * * *", "Concurrency Policy: Allow", "Image: registry.example/a:1", "Active Jobs: <none>"},
	"horizontalpodautoscalers":          {"Reference: Deployment/a", "Min replicas: 1", "Max replicas: 3", "resource cpu on pods (as a percentage of request): <unknown> / 80%"},
	"ingresses":                         {"Default backend: a:80 ", "Ingress Class: <none>"},
	"ingressclasses":                    {"Controller: example.com/c"},
	"networkpolicies":                   {"PodSelector: <none> (Allowing the specific traffic to all pods in this namespace)", "Policy Types: Ingress"},
	"storageclasses":                    {"IsDefaultClass: No", "Provisioner: example.com/p", "ReclaimPolicy: Delete", "VolumeBindingMode: Immediate"},
	"csidrivers":                        {"Attach Required: true", "Fs Group Policy: ReadWriteOnceWithFSType", "Persistent"},
	"csinodes":                          {"d.example.com:", "Node ID: node-a"},
	"runtimeclasses":                    {"Handler: runc"},
	"leases":                            {"Holder Identity: a", "Lease Duration Seconds: 40"},
	"endpointslices":                    {"AddressType: IPv4", "<unset> 80 TCP", "- Addresses: 10.0.0.1"},
	"poddisruptionbudgets":              {"Min available: 1", "Selector: app=a", "Allowed disruptions: 0"},
	"clusterrolebindings":               {"Kind: ClusterRole", "Name: view", "User u"},
	"clusterroles":                      {"pods [] [] [get]"},
	"rolebindings":                      {"Kind: ClusterRole", "Name: view", "User u"},
	"roles":                             {"pods [] [] [get]"},
	"priorityclasses":                   {"Value: 100", "GlobalDefault: false", "PreemptionPolicy: PreemptLowerPriority"},
	"certificatesigningrequests":        {"Requesting User: admin", "Signer: example.com/s", "Status: Pending", "Common Name: a"},
	"volumeattachments":                 {"Attacher: a.example.com", "Node Name: node", "Persistent Volume Name: v"},
	"customresourcedefinitions":         {"Kind: Sample", "Strategy: None", "Scope: Cluster", "Reason: InitialNamesAccepted"},
}

var nameLine = regexp.MustCompile(`(?m)^Name: +(\S+)$`)

// checkDescribed looks for each kind's lines between the name of its object and that of the next.
func checkDescribed(t *testing.T, version, out string, names map[string]string) {
	at := nameLine.FindAllStringSubmatchIndex(out, -1)
	sections := map[string][]string{}
	for i, m := range at {
		end := len(out)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		var lines []string
		for line := range strings.Lines(out[m[1]:end]) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		sections[out[m[2]:m[3]]] = lines
	}
	for plural, name := range names {
		want := describedLines[plural]
		if len(want) == 0 {
			t.Errorf("there is no line that describes one of %s", plural)
		}
		for _, line := range want {
			if !slices.ContainsFunc(sections[name], func(l string) bool { return strings.HasPrefix(l, line) }) {
				t.Errorf("kubectl %s does not say of %s/%s: %s\nbut: %s", version, plural, name, line, strings.Join(sections[name], "\n"))
			}
		}
	}
}
