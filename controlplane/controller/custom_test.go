package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// customEnv is a server with all controllers, whose definitions come and go while they run.
type customEnv struct {
	*apitest.Env
	t *testing.T
}

func startCustom(t *testing.T) *customEnv {
	t.Helper()
	e := apitest.Start(t, apitest.Options{})
	plane.Go(t, func(ctx context.Context) error {
		return controller.Run(ctx, controller.Config{
			Client: e.Client, Kinds: e.Registry.Kinds(), Schemas: e.Server.Schema, Ledger: e.Ledger, ClusterCIDR: plane.Pods, ServiceCIDR: plane.Services,
			CA: []byte("PEM"), Logger: slog.New(slog.DiscardHandler), APIServerAddresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:6443")},
		})
	})
	return &customEnv{e, t}
}

// definition returns one of a resource of example.com in two versions, of which v2 is stored.
func definition(plural, kind string) *apiextensionsv1.CustomResourceDefinition {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	text := fmt.Sprintf(`
metadata: {name: %s.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: %s, kind: %s}
  versions:
  - {name: v1, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
  - {name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`, plural, plural, kind)
	if err := yaml.UnmarshalStrict([]byte(text), crd); err != nil {
		panic(err)
	}
	return crd
}

// define stores a definition and returns the kind of its version v1 when it is served.
func (e *customEnv) define(crd *apiextensionsv1.CustomResourceDefinition) *kind.Kind {
	e.t.Helper()
	must(client.Create(e.t.Context(), e.Client, crd))(e.t)
	var k *kind.Kind
	e.Eventually("the definition is served", func() bool {
		k = e.Registry.Kinds().ByResource(schema.GroupVersionResource{Group: crd.Spec.Group, Version: "v1", Resource: crd.Spec.Names.Plural})
		return k != nil
	})
	return k
}

func custom(namespace, name string, owners ...metav1.OwnerReference) *kind.Custom {
	return &kind.Custom{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: owners}, Content: map[string]any{}}
}

func owner(k *kind.Kind, obj kind.Object) metav1.OwnerReference {
	blocks := true
	return metav1.OwnerReference{APIVersion: k.GroupVersion().String(), Kind: k.Kind, Name: obj.GetName(), UID: obj.GetUID(), BlockOwnerDeletion: &blocks}
}

func (e *customEnv) create(k *kind.Kind, obj kind.Object) kind.Object {
	e.t.Helper()
	return must(e.Client.Create(e.t.Context(), k, obj))(e.t)
}

func (e *customEnv) delete(k *kind.Kind, obj kind.Object, how metav1.DeletionPropagation) {
	e.t.Helper()
	if err := e.Client.Delete(e.t.Context(), k, obj.GetNamespace(), obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &how}); err != nil {
		e.t.Fatal(err)
	}
}

// get returns an object, nil when there is none.
func (e *customEnv) get(k *kind.Kind, of kind.Object) kind.Object {
	e.t.Helper()
	obj, err := e.Client.Get(e.t.Context(), k, of.GetNamespace(), of.GetName())
	if apierrors.IsNotFound(err) {
		return nil
	}
	return must(obj, err)(e.t)
}

func (e *customEnv) goes(k *kind.Kind, obj kind.Object) {
	e.t.Helper()
	e.Eventually(k.Plural+" "+obj.GetName()+" is gone", func() bool { return e.get(k, obj) == nil })
}

// release takes all finalizers off an object.
func (e *customEnv) release(k *kind.Kind, of kind.Object) {
	e.t.Helper()
	e.Eventually("the finalizers of "+of.GetName()+" are taken off", func() bool {
		next := e.get(k, of).DeepCopyObject().(kind.Object)
		next.SetFinalizers(nil)
		_, err := e.Client.Update(e.t.Context(), k, next, "")
		return err == nil
	})
}

// TestCustomObjects takes objects of defined kinds through what controllers do with objects of every kind.
func TestCustomObjects(t *testing.T) {
	e := startCustom(t)
	for name, run := range map[string]func(*customEnv){
		"quota": customQuota, "owners": customOwners, "namespace": customNamespace, "definition": customDefinition, "overlap": overlappingDefinition,
	} {
		t.Run(name, func(t *testing.T) { run(&customEnv{e.Env, t}) })
	}
}

// customQuota counts objects of a kind that is defined after the quota.
func customQuota(e *customEnv) {
	const counted = "count/meters.example.com"
	e.Namespace("metered")
	must(client.Create(e.t.Context(), e.Client, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "metered", Name: "q"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse("1"), corev1.ResourceConfigMaps: resource.MustParse("10")}},
	}))(e.t)
	uses := func(want string) {
		e.t.Helper()
		e.Eventually("the quota uses "+want, func() bool {
			used, ok := must(client.Get[*corev1.ResourceQuota](e.t.Context(), e.Client, "metered", "q"))(e.t).Status.Used[counted]
			return ok && used.String() == want
		})
	}
	e.Eventually("the quota counts what there is", func() bool {
		return len(must(client.Get[*corev1.ResourceQuota](e.t.Context(), e.Client, "metered", "q"))(e.t).Status.Used) == 1
	})
	meters := e.define(definition("meters", "Meter"))
	uses("0")
	first := e.create(meters, custom("metered", "a"))
	_, err := e.Client.Create(e.t.Context(), meters, custom("metered", "b"))
	if want := "exceeded quota: q, requested: " + counted + "=1, used: " + counted + "=1, limited: " + counted + "=1"; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		e.t.Errorf("one too many: %v", err)
	}
	e.delete(meters, first, metav1.DeletePropagationBackground)
	uses("0")
	e.create(meters, custom("metered", "b"))
	uses("1")
}

// customOwners collects what custom objects own and what owns them, whatever the version in the reference.
func customOwners(e *customEnv) {
	widgets, maps := e.define(definition("widgets", "Widget")), kind.Of[*corev1.ConfigMap]()
	cm := func(name string, owners ...metav1.OwnerReference) kind.Object {
		return e.create(maps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: owners}})
	}
	top := cm("top")
	middle := e.create(widgets, custom("default", "middle", owner(maps, top)))
	bottom := cm("bottom", owner(widgets, middle)) // names v1, which is not stored
	e.delete(maps, top, metav1.DeletePropagationBackground)
	e.goes(widgets, middle)
	e.goes(maps, bottom)

	parent := e.create(widgets, custom("default", "parent"))
	held := custom("default", "child", owner(widgets.StoredKind(), parent))
	held.Finalizers = []string{"example.com/hold"}
	child := e.create(widgets, held)
	e.delete(widgets, parent, metav1.DeletePropagationForeground)
	e.Eventually("the child is being deleted", func() bool { return e.get(widgets, child).GetDeletionTimestamp() != nil })
	if got := e.get(widgets, parent); got == nil || !slices.Contains(got.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		e.t.Errorf("while its child is there the owner is %v", got)
	}
	e.release(widgets, child)
	e.goes(widgets, parent)

	parent = e.create(widgets, custom("default", "parent"))
	child = e.create(widgets, custom("default", "child", owner(widgets, parent)))
	e.delete(widgets, parent, metav1.DeletePropagationOrphan)
	e.goes(widgets, parent)
	if got := e.get(widgets, child); got == nil || len(got.GetOwnerReferences()) > 0 || got.GetDeletionTimestamp() != nil {
		e.t.Errorf("the orphan is %v", got)
	}
}

// customNamespace empties a namespace of custom objects, and waits for those that are held.
func customNamespace(e *customEnv) {
	gears, namespaces := e.define(definition("gears", "Gear")), kind.Of[*corev1.Namespace]()
	e.Namespace("doomed")
	free := e.create(gears, custom("doomed", "free"))
	held := custom("doomed", "held")
	held.Finalizers = []string{"example.com/hold"}
	e.create(gears, held)
	ns := must(client.Get[*corev1.Namespace](e.t.Context(), e.Client, "", "doomed"))(e.t)
	e.delete(namespaces, ns, metav1.DeletePropagationBackground)
	e.goes(gears, free)
	e.Eventually("the namespace says what is left", func() bool {
		text := fmt.Sprint(e.get(namespaces, ns).(*corev1.Namespace).Status.Conditions)
		return strings.Contains(text, "gears.example.com has 1 resource instances") && strings.Contains(text, "example.com/hold in 1 resource instances")
	})
	if _, err := e.Client.Create(e.t.Context(), gears, custom("doomed", "late")); !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		e.t.Errorf("create in a namespace that goes = %v", err)
	}
	e.release(gears, held)
	e.goes(namespaces, ns)
}

// customDefinition deletes a definition whose objects own others, and which somebody else holds too.
func customDefinition(e *customEnv) {
	crd := definition("cogs", "Cog")
	crd.Finalizers = []string{"example.com/hold"}
	cogs, maps, definitions := e.define(crd), kind.Of[*corev1.ConfigMap](), kind.Of[*apiextensionsv1.CustomResourceDefinition]()
	e.Namespace("other")
	var owned []kind.Object
	for _, namespace := range []string{"default", "other"} {
		cog := e.create(cogs, custom(namespace, "cog"))
		owned = append(owned, e.create(maps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "of-cog", OwnerReferences: []metav1.OwnerReference{owner(cogs, cog)}}}))
	}
	e.delete(definitions, crd, metav1.DeletePropagationBackground)
	e.Eventually("the definition has no objects any more", func() bool {
		got := e.get(definitions, crd).(*apiextensionsv1.CustomResourceDefinition)
		return slices.Equal(got.Finalizers, []string{"example.com/hold"}) && strings.Contains(fmt.Sprint(got.Status.Conditions), "InstanceDeletionCompleted removed all instances")
	})
	for _, obj := range owned {
		e.goes(maps, obj)
	}
	e.release(definitions, crd)
	e.goes(definitions, crd)
	e.Eventually("the kind is served no more", func() bool { return e.Registry.Kinds().ByKind(cogs.GroupVersionKind) == nil })
	// defined anew, it is empty
	crd.Finalizers = nil
	if cogs = e.define(crd); e.get(cogs, custom("default", "cog")) != nil {
		e.t.Error("an object outlived its definition")
	}
}

// overlappingDefinition has a definition of a built-in resource come and go: what is stored of the resource stays.
func overlappingDefinition(e *customEnv) {
	crd := definition("networkpolicies", "Policy")
	crd.Name, crd.Spec.Group = "networkpolicies.networking.k8s.io", "networking.k8s.io"
	crd.Annotations = map[string]string{"api-approved.kubernetes.io": "unapproved, a test"}
	stays := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stays"}}
	must(client.Create(e.t.Context(), e.Client, stays))(e.t)
	must(client.Create(e.t.Context(), e.Client, crd))(e.t)
	definitions := kind.Of[*apiextensionsv1.CustomResourceDefinition]()
	e.Eventually("the definition is established", func() bool {
		return kind.Established(e.get(definitions, crd).(*apiextensionsv1.CustomResourceDefinition))
	})
	e.delete(definitions, crd, metav1.DeletePropagationBackground)
	e.goes(definitions, crd)
	if got := e.get(kind.Of[*networkingv1.NetworkPolicy](), stays); got == nil || got.GetDeletionTimestamp() != nil {
		e.t.Errorf("the network policy is %v", got)
	}
}
