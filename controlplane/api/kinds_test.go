package api_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

const podTemplate = `{metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: "registry.example/a:1"}]}}`

// certificateRequest is PEM in base64, for the common name a.
const certificateRequest = `LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISE1HNENBUUF3RERFS01BZ0dBMVVFQXd3QllUQlpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCTWdKQ3J3MFFWT2VQVmFEeG84MFJ2VmQ2bmV1QW10SmZxa3Y4RThVYS8wbnFlSlNsaEJ4b2svS3ZPVi9mN0N0CnNBc0g5dWVCNngvNkxhVWNWSDhlc3cyZ0FEQUtCZ2dxaGtqT1BRUURBZ05KQURCR0FpRUF0TDAxWW5vVkxvYlYKYmV3S29hM1dMU3hmMjhhV25vbTU1YUJFYmljWU1xb0NJUUNQS0NTcnp3SGY0TU1VNzA1Ty93bGhOYm9xUHFNZwpwNlF2bStPSEkxcm1oQT09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=`

// samples has a valid object of every kind that the server has, but for metadata.name.
var samples = map[string]string{
	"mutatingwebhookconfigurations":     `{webhooks: [` + sampleWebhook + `]}`,
	"validatingwebhookconfigurations":   `{webhooks: [` + sampleWebhook + `]}`,
	"validatingadmissionpolicies":       `{spec: {matchConstraints: {resourceRules: [` + sampleRule + `]}, validations: [{expression: "object.metadata.name != \"a\""}]}}`,
	"validatingadmissionpolicybindings": `{spec: {policyName: sample.example.com, validationActions: [Deny]}}`,
	"configmaps":                        `{data: {a: b}}`,
	"endpoints":                         `{subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}`,
	"events":                            `{involvedObject: {namespace: default, kind: Pod, name: a}, reason: Tested, message: m, type: Normal}`,
	"limitranges":                       `{spec: {limits: [{type: Container, default: {cpu: "1"}}]}}`,
	"namespaces":                        `{}`,
	"nodes":                             `{}`,
	"pods":                              `{spec: {containers: [{name: c, image: "registry.example/a:1"}]}}`,
	"podtemplates":                      `{template: ` + podTemplate + `}`,
	"replicationcontrollers":            `{spec: {replicas: 1, selector: {app: a}, template: ` + podTemplate + `}}`,
	"resourcequotas":                    `{spec: {hard: {pods: "10"}}}`,
	"persistentvolumes":                 `{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}}}`,
	"persistentvolumeclaims":            `{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`,
	"secrets":                           `{stringData: {a: b}}`,
	"serviceaccounts":                   `{}`,
	"services":                          `{spec: {selector: {app: a}, ports: [{port: 80}]}}`,
	"controllerrevisions":               `{revision: 1, data: {a: b}}`,
	"deployments":                       `{spec: {selector: {matchLabels: {app: a}}, template: ` + podTemplate + `}}`,
	"replicasets":                       `{spec: {selector: {matchLabels: {app: a}}, template: ` + podTemplate + `}}`,
	"daemonsets":                        `{spec: {selector: {matchLabels: {app: a}}, template: ` + podTemplate + `}}`,
	"statefulsets":                      `{spec: {serviceName: a, selector: {matchLabels: {app: a}}, template: ` + podTemplate + `}}`,
	"jobs":                              `{spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "registry.example/a:1"}]}}}}`,
	"cronjobs":                          `{spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "registry.example/a:1"}]}}}}}}`,
	"horizontalpodautoscalers":          `{spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}, maxReplicas: 3}}`,
	"ingresses":                         `{spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}}`,
	"ingressclasses":                    `{spec: {controller: example.com/c}}`,
	"networkpolicies":                   `{spec: {podSelector: {}}}`,
	"storageclasses":                    `{provisioner: example.com/p}`,
	"csidrivers":                        `{spec: {}}`,
	"csinodes":                          `{spec: {drivers: [{name: d.example.com, nodeID: node-a}]}}`,
	"runtimeclasses":                    `{handler: runc}`,
	"leases":                            `{spec: {holderIdentity: a, leaseDurationSeconds: 40}}`,
	"endpointslices":                    `{addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]}`,
	"poddisruptionbudgets":              `{spec: {minAvailable: 1, selector: {matchLabels: {app: a}}}}`,
	"clusterrolebindings":               `{roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, subjects: [{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}]}`,
	"clusterroles":                      `{rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}`,
	"rolebindings":                      `{roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, subjects: [{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}]}`,
	"roles":                             `{rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}`,
	"priorityclasses":                   `{value: 100}`,
	"certificatesigningrequests":        `{spec: {request: ` + certificateRequest + `, signerName: example.com/s, usages: [client auth]}}`,
	"volumeattachments":                 `{spec: {attacher: a.example.com, nodeName: node, source: {persistentVolumeName: v}}}`,
	"customresourcedefinitions":         `{spec: {group: example.com, scope: Cluster, names: {plural: samples, kind: Sample}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`,
}

// verbs are what the test does with an object of every kind; each must be in discovery, and none else.
var verbs = map[string]func(ctx context.Context, c dynamic.ResourceInterface, name string, sample *unstructured.Unstructured) error{
	"create": func(ctx context.Context, c dynamic.ResourceInterface, _ string, o *unstructured.Unstructured) error {
		_, err := c.Create(ctx, o, metav1.CreateOptions{})
		return err
	},
	"get": func(ctx context.Context, c dynamic.ResourceInterface, name string, _ *unstructured.Unstructured) error {
		_, err := c.Get(ctx, name, metav1.GetOptions{})
		return err
	},
	"list": func(ctx context.Context, c dynamic.ResourceInterface, _ string, _ *unstructured.Unstructured) error {
		_, err := c.List(ctx, metav1.ListOptions{})
		return err
	},
	"update": func(ctx context.Context, c dynamic.ResourceInterface, name string, _ *unstructured.Unstructured) error {
		// Controllers of the server write some kinds too.
		return retry.RetryOnConflict(retry.DefaultRetry, func() error {
			o, err := c.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			o.SetLabels(map[string]string{"updated": "yes"})
			_, err = c.Update(ctx, o, metav1.UpdateOptions{})
			return err
		})
	},
	"patch": func(ctx context.Context, c dynamic.ResourceInterface, name string, o *unstructured.Unstructured) error {
		for t, data := range map[types.PatchType]string{
			types.MergePatchType:          `{"metadata":{"annotations":{"merge":"1"}}}`,
			types.StrategicMergePatchType: `{"metadata":{"annotations":{"strategic":"1"}}}`,
			types.JSONPatchType:           `[{"op":"add","path":"/metadata/labels/json","value":"1"}]`,
		} {
			if _, err := c.Patch(ctx, name, t, []byte(data), metav1.PatchOptions{}); err != nil {
				return err
			}
		}
		_, err := c.Apply(ctx, name, o, metav1.ApplyOptions{FieldManager: "applier", Force: true})
		return err
	},
	"watch": func(ctx context.Context, c dynamic.ResourceInterface, name string, _ *unstructured.Unstructured) error {
		w, err := c.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			return err
		}
		defer w.Stop()
		if e := <-w.ResultChan(); e.Type != watch.Added {
			return apierrors.FromObject(e.Object)
		}
		return nil
	},
	"delete": func(ctx context.Context, c dynamic.ResourceInterface, name string, _ *unstructured.Unstructured) error {
		return c.Delete(ctx, name, metav1.DeleteOptions{})
	},
	"deletecollection": func(ctx context.Context, c dynamic.ResourceInterface, _ string, _ *unstructured.Unstructured) error {
		return c.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "none=such"})
	},
}

// sampleRule matches what nothing else of a test is, so that the samples' webhooks and policies are never asked.
const (
	sampleRule    = `{apiGroups: [none.example.com], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}`
	sampleWebhook = `{name: a.example.com, rules: [` + sampleRule + `], clientConfig: {url: "https://127.0.0.1:1/x"}, sideEffects: None, admissionReviewVersions: [v1]}`
)

func TestEveryKindAndVerb(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	dyn := dynamic.NewForConfigOrDie(e.Admin())
	meta := metadata.NewForConfigOrDie(e.Admin())
	lists, err := e.Kube(e.Admin()).Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string][]string{}
	for _, l := range lists {
		for _, r := range l.APIResources {
			served[l.GroupVersion+"/"+r.Name] = r.Verbs
		}
	}
	for _, k := range kind.Builtin().Kinds() {
		t.Run(k.Plural+"."+k.Group, func(t *testing.T) {
			sample, ok := samples[k.Plural]
			if !ok {
				t.Fatalf("there is no sample of kind %s", k.Kind)
			}
			name := sampleOf(k, "sample")
			o := object(t, k, name, sample)
			o.SetAnnotations(map[string]string{"sample": "yes"})
			var c dynamic.ResourceInterface = dyn.Resource(k.GroupVersionResource())
			var m metadata.ResourceInterface = meta.Resource(k.GroupVersionResource())
			if k.Namespaced {
				c, m = dyn.Resource(k.GroupVersionResource()).Namespace("default"), meta.Resource(k.GroupVersionResource()).Namespace("default")
			}
			want := served[k.GroupVersion().String()+"/"+k.Plural]
			for _, v := range want {
				if verbs[v] == nil {
					t.Errorf("discovery has the verb %s, which no test covers", v)
				}
			}
			for _, v := range []string{"create", "get", "list", "update", "patch", "watch", "delete", "deletecollection"} {
				if !slices.Contains(want, v) {
					if v == "deletecollection" && k.Plural == "namespaces" {
						continue
					}
					t.Errorf("discovery lacks the verb %s", v)
				}
				if err := verbs[v](t.Context(), c, name, o.DeepCopy()); err != nil {
					t.Fatalf("%s: %v", v, err)
				}
				if v == "patch" {
					metadataAndTable(t, e, m, k, name)
				}
			}
		})
	}
}

// sampleOf is the name of a kind's sample: a definition can not be called as one likes.
func sampleOf(k *kind.Kind, name string) string {
	if k.Plural == "customresourcedefinitions" {
		return "samples.example.com"
	}
	return name
}

// object makes an object of a kind of what samples has.
func object(t *testing.T, k *kind.Kind, name, sample string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(sample), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.SetGroupVersionKind(k.GroupVersionKind)
	o.SetName(name)
	return o
}

// metadataAndTable reads the sample by the two transformations.
func metadataAndTable(t *testing.T, e *apitest.Env, m metadata.ResourceInterface, k *kind.Kind, name string) {
	t.Helper()
	p, err := m.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Annotations["merge"] != "1" || p.Annotations["strategic"] != "1" || p.Labels["json"] != "1" {
		t.Errorf("patches left labels %v and annotations %v", p.Labels, p.Annotations)
	}
	managers := map[string]bool{}
	for _, f := range p.ManagedFields {
		managers[f.Manager+"/"+string(f.Operation)] = true
	}
	if !managers["applier/Apply"] {
		t.Errorf("managed fields: %v", managers)
	}
	table := tableOf(t, e, k)
	if len(table.ColumnDefinitions) == 0 || len(table.Rows) == 0 {
		t.Fatalf("table has %d columns and %d rows", len(table.ColumnDefinitions), len(table.Rows))
	}
	for _, row := range table.Rows {
		if len(row.Cells) != len(table.ColumnDefinitions) {
			t.Errorf("row %v does not fit columns %v", row.Cells, table.ColumnDefinitions)
		}
	}
}

func tableOf(t *testing.T, e *apitest.Env, k *kind.Kind) *metav1.Table {
	t.Helper()
	path := "/apis/" + k.GroupVersion().String() + "/"
	if k.Group == "" {
		path = "/api/v1/"
	}
	if k.Namespaced {
		path += "namespaces/default/"
	}
	data, err := e.Kube(e.Admin()).RESTClient().Get().AbsPath(path+k.Plural).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table := &metav1.Table{}
	if err := json.Unmarshal(data, table); err != nil {
		t.Fatal(err)
	}
	if table.Kind != "Table" {
		t.Fatalf("answer is a %s", table.Kind)
	}
	return table
}
