package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"

	apikind "github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// TestStripUndoesDefaults holds that what the server adds to an object by default is what an import leaves out.
func TestStripUndoesDefaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		gvk    apischema.GroupVersionKind
		object apikind.Object
		text   string
	}{
		{"Deployment", appsv1.SchemeGroupVersion.WithKind("Deployment"), &appsv1.Deployment{}, `{
			"metadata": {"name": "web"},
			"spec": {"replicas": 2, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"a": "b"}}, "template": {
				"metadata": {"labels": {"a": "b"}},
				"spec": {
					"serviceAccountName": "me",
					"initContainers": [{"name": "i", "image": "i:latest", "imagePullPolicy": "IfNotPresent"}],
					"containers": [{"name": "c", "image": "c:1", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
						"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
						"livenessProbe": {"grpc": {"port": 1}, "periodSeconds": 3}, "readinessProbe": {"httpGet": {"port": 80, "path": "/ready"}}, "startupProbe": {"exec": {"command": ["x"]}},
						"lifecycle": {"preStop": {"httpGet": {"port": "http"}}}}],
					"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}}, {"name": "c", "secret": {"secretName": "s", "defaultMode": 256}},
						{"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.uid"}}]}}]}},
						{"name": "e", "hostPath": {"path": "/x"}}, {"name": "f", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.uid"}}]}}]}}}}`},
		{"Service", corev1.SchemeGroupVersion.WithKind("Service"), &corev1.Service{},
			`{"metadata": {"name": "web"}, "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}, {"name": "x", "port": 81, "targetPort": 8081, "protocol": "UDP"}]}}`},
		{"Secret", corev1.SchemeGroupVersion.WithKind("Secret"), &corev1.Secret{}, `{"metadata": {"name": "s"}, "data": {"a": "YQ=="}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := liveObject(t, test.text)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(liveObject(t, test.text), test.object); err != nil {
				t.Fatal(err)
			}
			server := apikind.Builtin().ByKind(test.gvk)
			if server == nil || server.Default == nil {
				t.Fatalf("the server has no defaults for %s", test.gvk)
			}
			server.Default(test.object)
			live := unstructuredOf(t, test.object)
			k := testEngine(t, test.name)
			k.prune(live)
			k.root.strip(live)
			if diff := cmp.Diff(want, live); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
