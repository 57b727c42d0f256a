package helm

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/single"
)

// elsewhere are the kinds that no chart brings.
var elsewhere = []string{
	"v1/Node",                   // a machine's agent makes it
	"storage.k8s.io/v1/CSINode", // as the machine's drivers have it
}

// serves wants the deployment to have what a revision of the release says, and nothing else.
func (l *life) serves(replicas int32, greeting string) {
	l.Helper()
	l.await("the deployment serves "+greeting, func() error {
		d, err := cluster.Client.AppsV1().Deployments(l.name).Get(l.Context(), l.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := d.Status
		if *d.Spec.Replicas != replicas || s.ObservedGeneration != d.Generation || s.Replicas != replicas || s.UpdatedReplicas != replicas || s.ReadyReplicas != replicas {
			return fmt.Errorf("of %d replicas, want %d, the status is %+v", *d.Spec.Replicas, replicas, s)
		}
		if image := d.Spec.Template.Spec.Containers[0].Image; image != single.ToolsImage {
			return fmt.Errorf("its image is %s", image)
		}
		got, err := cluster.Client.CoreV1().Services(l.name).ProxyGet("http", l.name, "http", "greeting", nil).DoRaw(l.Context())
		if err == nil && string(got) != greeting {
			err = fmt.Errorf("the service says %q", got)
		}
		return err
	})
}

// stands wants every object of the release's manifest to be there, to be the release's, and to be as the manifest
// has it: to apply it changes nothing.
func (l *life) stands() {
	l.Helper()
	mapper := l.mapper()
	for _, want := range l.objects("manifest") {
		r, err := l.resource(mapper, want)
		if err != nil {
			l.Error(err)
			continue
		}
		what := want.GetKind() + " " + want.GetName()
		got, err := r.Get(l.Context(), want.GetName(), metav1.GetOptions{})
		if err != nil {
			l.Errorf("%s: %v", what, err)
			continue
		}
		if a := got.GetAnnotations(); a["meta.helm.sh/release-name"] != l.name || a["meta.helm.sh/release-namespace"] != l.name {
			l.Errorf("%s has annotations %v", what, a)
		}
		applied, err := r.Apply(l.Context(), want.GetName(), want, metav1.ApplyOptions{FieldManager: "test", Force: true, DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			l.Errorf("%s can not be applied again: %v", what, err)
			continue
		}
		for _, o := range []*unstructured.Unstructured{got, applied} {
			o.SetManagedFields(nil)
			o.SetResourceVersion("")
			unstructured.RemoveNestedField(o.Object, "status")
		}
		if !equality.Semantic.DeepEqual(got, applied) {
			l.Errorf("%s is not as the chart has it:\n%v\nwant\n%v", what, got, applied)
		}
	}
}

// lookedUp wants what the templates looked up to be the cluster's, and the password to be what it was.
func (l *life) lookedUp() {
	l.Helper()
	system, err := cluster.Client.CoreV1().Namespaces().Get(l.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	version, err := cluster.Client.Discovery().ServerVersion()
	if err != nil {
		l.Fatal(err)
	}
	data := l.configMap(l.name).Data
	for key, want := range map[string]string{
		"cluster": string(system.UID), "namespaces": "kube-node-lease kube-public kube-system", "nobody": "0",
		"kubernetes": version.GitVersion, "knows": "true true false",
	} {
		if got := strings.TrimSpace(data[key]); got != want {
			l.Errorf("templates looked up %s: %q, want %q", key, got, want)
		}
	}
	s, err := cluster.Client.CoreV1().Secrets(l.name).Get(l.Context(), l.name+"-password", metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	got := string(s.Data["password"])
	if l.password == "" {
		l.password = got
	}
	if len(got) != 16 || got != l.password {
		l.Errorf("the password is %q, and was %q", got, l.password)
	}
}

// hooked wants hooks to have run in their order, before what they come before, and to be gone if they are to go.
func (l *life) hooked() {
	l.Helper()
	pods := cluster.Client.CoreV1().Pods(l.name)
	var before metav1.Time
	for _, name := range []string{"first", "second"} {
		pod := l.hook(name)
		if pod.Status.Phase != corev1.PodSucceeded || pod.CreationTimestamp.Before(&before) {
			l.Errorf("hook %s is %s, and was made at %v, with what comes before it over at %v", name, pod.Status.Phase, pod.CreationTimestamp, before)
		}
		before = pod.Status.ContainerStatuses[0].State.Terminated.FinishedAt
	}
	if made := l.configMap(l.name).CreationTimestamp; made.Before(&before) {
		l.Errorf("the configuration was made at %v, before the hooks were over at %v", made, before)
	}
	if _, err := pods.Get(l.Context(), l.name+"-after", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		l.Errorf("a hook that succeeded stays: %v", err)
	}
}

// hook is the pod of one.
func (l *life) hook(name string) *corev1.Pod {
	l.Helper()
	pod, err := cluster.Client.CoreV1().Pods(l.name).Get(l.Context(), l.name+"-"+name, metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	return pod
}

// matters wants objects of the chart to have the effects that they are there for.
func (l *life) matters() {
	l.Helper()
	ctx, client := l.Context(), cluster.Client
	alone, err := client.CoreV1().Pods(l.name).Get(ctx, l.name+"-alone", metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	if cpu := alone.Spec.Containers[0].Resources.Requests.Cpu(); cpu.String() != "1m" {
		l.Errorf("limit range: the pod requests %v", cpu)
	}
	pods, err := client.CoreV1().Pods(l.name).List(ctx, metav1.ListOptions{LabelSelector: "app=" + l.name})
	if err != nil || len(pods.Items) == 0 {
		l.Fatalf("the deployment has %d pods: %v", len(pods.Items), err)
	}
	if p := pods.Items[0].Spec.Priority; p == nil || *p != 1000 {
		l.Errorf("priority class: the pod has priority %v", p)
	}
	if shop := l.get("example.com/v1", "Shop", l.name); nested(shop, "spec", "counters") != int64(3) {
		l.Errorf("custom resource definition: the resource is %v", shop.Object["spec"])
	}
	l.await("the quota counts", func() error {
		q, err := client.CoreV1().ResourceQuotas(l.name).Get(ctx, l.name, metav1.GetOptions{})
		if err == nil && (q.Status.Used.Pods().Value() < 4 || q.Status.Used.Name("count/shops.example.com", "").Value() != 1) {
			err = fmt.Errorf("its status is %+v", q.Status)
		}
		return err
	})
	for _, a := range []authorizationv1.ResourceAttributes{
		{Namespace: l.name, Verb: "list", Resource: "configmaps"},
		{Verb: "get", Resource: "nodes", Name: cluster.Node},
	} {
		l.await("the account may do what its roles say", func() error {
			r, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + l.name + ":" + l.name, ResourceAttributes: &a,
			}}, metav1.CreateOptions{})
			if err == nil && !r.Status.Allowed {
				err = errors.New(r.Status.Reason)
			}
			return err
		})
	}
	l.await("the policy refuses", func() error {
		_, err := client.CoreV1().ConfigMaps(l.name).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "refused"}, Data: map[string]string{"forbidden": "yes"},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsInvalid(err) {
			return fmt.Errorf("the answer is %w", err)
		}
		return nil
	})
}

// complete wants the release to have an object of every kind and version that the server has.
func (l *life) complete() {
	l.Helper()
	missing := map[string]bool{}
	_, lists, err := cluster.Client.Discovery().ServerGroupsAndResources()
	if err != nil {
		l.Fatal(err)
	}
	for _, list := range lists {
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "create") && slices.Contains(r.Verbs, "list") {
				missing[list.GroupVersion+"/"+r.Kind] = true
			}
		}
	}
	for _, o := range l.objects("manifest") {
		delete(missing, o.GetAPIVersion()+"/"+o.GetKind())
	}
	delete(missing, "apiextensions.k8s.io/v1/CustomResourceDefinition") // the chart's folder of these
	for _, k := range elsewhere {
		delete(missing, k)
	}
	for _, k := range slices.Sorted(maps.Keys(missing)) {
		l.Errorf("the chart has no %s", k)
	}
}

// left lists what has the release's label and is no hook, of every kind that the server has.
func (l *life) left() []string {
	l.Helper()
	lists, err := cluster.Client.Discovery().ServerPreferredResources()
	if err != nil {
		l.Fatal(err)
	}
	var out []string
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			l.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") {
				continue
			}
			objects, err := l.dynamic.Resource(gv.WithResource(r.Name)).List(l.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + l.name})
			if err != nil {
				l.Fatal(err)
			}
			for _, o := range objects.Items {
				if o.GetAnnotations()["helm.sh/hook"] == "" {
					out = append(out, r.Name+"/"+o.GetName())
				}
			}
		}
	}
	return out
}

// objects are those of the release's manifest, as Helm prints it.
func (l *life) objects(what string) []*unstructured.Unstructured {
	l.Helper()
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(l.helm("get", what, l.name)), 4096)
	var out []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			l.Fatal(err)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// mapper knows all kinds that there are now.
func (l *life) mapper() meta.RESTMapper {
	l.Helper()
	groups, err := restmapper.GetAPIGroupResources(cluster.Client.Discovery())
	if err != nil {
		l.Fatal(err)
	}
	return restmapper.NewDiscoveryRESTMapper(groups)
}

// resource is where the object is: in the release's namespace if it names no other.
func (l *life) resource(mapper meta.RESTMapper, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	m, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return l.dynamic.Resource(m.Resource), nil
	}
	ns := o.GetNamespace()
	if ns == "" {
		ns = l.name
	}
	return l.dynamic.Resource(m.Resource).Namespace(ns), nil
}

// get reads an object, which must be there.
func (l *life) get(apiVersion, kind, name string) *unstructured.Unstructured {
	l.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	r, err := l.resource(l.mapper(), o)
	if err == nil {
		o, err = r.Get(l.Context(), name, metav1.GetOptions{})
	}
	if err != nil {
		l.Fatal(err)
	}
	return o
}

func (l *life) configMap(name string) *corev1.ConfigMap {
	l.Helper()
	cm, err := cluster.Client.CoreV1().ConfigMaps(l.name).Get(l.Context(), name, metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	return cm
}

// nested is the value at a path, nil when there is none.
func nested(o *unstructured.Unstructured, path ...string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	return v
}
