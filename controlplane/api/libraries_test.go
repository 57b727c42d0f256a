package api_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	clientfeatures "k8s.io/client-go/features"
	clientfeaturestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

var configMapResource = corev1.SchemeGroupVersion.WithResource("configmaps")

// TestInformersOfEveryClient runs the dynamic and the metadata informer by a list and a watch, and by a streamed
// list.
func TestInformersOfEveryClient(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		t.Run(fmt.Sprintf("streamed=%t", streamed), func(t *testing.T) {
			clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, streamed)
			e := apitest.Start(t, apitest.Options{})
			cms := e.Kube(e.Admin()).CoreV1().ConfigMaps("default")
			for i := range 10 {
				if _, err := cms.Create(t.Context(), configMap(fmt.Sprint("a-", i)), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			byDynamic := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dynamic.NewForConfigOrDie(e.Admin()), 0, "default", nil)
			byMetadata := metadatainformer.NewFilteredSharedInformerFactory(metadata.NewForConfigOrDie(e.Admin()), 0, "default", nil)
			informers := map[string]cache.SharedIndexInformer{
				"dynamic": byDynamic.ForResource(configMapResource).Informer(), "metadata": byMetadata.ForResource(configMapResource).Informer()}
			byDynamic.Start(ctx.Done())
			byMetadata.Start(ctx.Done())
			defer byDynamic.Shutdown()
			defer byMetadata.Shutdown()
			defer cancel()
			for name, inf := range informers {
				if !cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) || len(inf.GetStore().List()) != 10 {
					t.Fatalf("the %s informer begins with %d objects", name, len(inf.GetStore().List()))
				}
			}
			if err := cms.Delete(ctx, "a-0", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := cms.Create(ctx, configMap("b"), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			for name, inf := range informers {
				e.Eventually("the "+name+" informer follows", func() bool {
					_, gone, err := inf.GetStore().GetByKey("default/a-0")
					if err != nil {
						t.Fatal(err)
					}
					_, there, err := inf.GetStore().GetByKey("default/b")
					if err != nil {
						t.Fatal(err)
					}
					return !gone && there
				})
			}
		})
	}
}

// TestDiscoveryForClients maps names to resources as kubectl and operators do.
func TestDiscoveryForClients(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	cached := memory.NewMemCacheClient(e.Kube(e.Admin()).Discovery())
	var mapper meta.RESTMapper = restmapper.NewDeferredDiscoveryRESTMapper(cached)
	mapper = restmapper.NewShortcutExpander(mapper, cached, nil)
	for name, want := range map[string]schema.GroupVersionResource{
		"deploy": appsv1.SchemeGroupVersion.WithResource("deployments"), "cm": configMapResource, "pod": corev1.SchemeGroupVersion.WithResource("pods"),
		"ing": {Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}, "hpa": {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	} {
		if got, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: name}); err != nil || got != want {
			t.Errorf("%s is %v, want %v: %v", name, got, want, err)
		}
	}
	if m, err := mapper.RESTMapping(schema.GroupKind{Kind: "Node"}); err != nil || m.Scope.Name() != meta.RESTScopeNameRoot {
		t.Errorf("scope of nodes: %+v, %v", m, err)
	}
	if _, err := mapper.RESTMapping(schema.GroupKind{Group: "example.com", Kind: "Thing"}); !meta.IsNoMatchError(err) {
		t.Errorf("mapping of an unknown kind: %v", err)
	}
}

// TestLeaderElection has three candidates: the second leads when the first lets go, the third when the second is gone
// without a word and its time is up.
func TestLeaderElection(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	leads := make(chan string) // unbuffered: who leads waits for the test to see it
	leases := e.Kube(e.Admin()).CoordinationV1()
	candidate := func(ctx context.Context, name string, release bool) {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: "default", Name: "lock"},
				Client: leases, LockConfig: resourcelock.ResourceLockConfig{Identity: name}},
			ReleaseOnCancel: release, LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{OnStoppedLeading: func() {}, OnStartedLeading: func(ctx context.Context) {
				select {
				case leads <- name:
				case <-ctx.Done():
				}
			}},
		})
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := map[string]func(){}
	ctx, stopAll := context.WithCancel(t.Context())
	defer stopAll()
	for _, name := range []string{"one", "two", "three"} {
		next, cancel := context.WithCancel(ctx)
		stop[name] = cancel
		wg.Go(func() { candidate(next, name, name == "one") })
		switch name {
		case "two":
			stop["one"]()
		case "three":
			stop["two"]()
		}
		if leader := <-leads; leader != name {
			t.Errorf("%s leads, want %s", leader, name)
		}
	}
	lease, err := leases.Leases("default").Get(t.Context(), "lock", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "three" || *lease.Spec.LeaseTransitions != 2 {
		t.Errorf("lease %v, %v", lease, err)
	}
}

const ownedFinalizer = "example.com/owned"

// operator keeps a config map of the same name for each deployment, as operators that are written with
// controller-runtime do: cached reads, owner references, finalizers, patches and status.
type operator struct{ client.Client }

func (o operator) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	d := &appsv1.Deployment{}
	if err := o.Get(ctx, req.NamespacedName, d); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !d.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(d, ownedFinalizer) {
			return ctrl.Result{}, o.Update(ctx, d)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(d, ownedFinalizer) {
		if err := o.Update(ctx, d); err != nil {
			return ctrl.Result{}, err
		}
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name}}
	if _, err := controllerutil.CreateOrUpdate(ctx, o, cm, func() error {
		cm.Data = map[string]string{"image": d.Spec.Template.Spec.Containers[0].Image}
		return controllerutil.SetControllerReference(d, cm, o.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	before := d.DeepCopy()
	d.Status.ObservedGeneration = d.Generation
	return ctrl.Result{}, o.Status().Patch(ctx, d, client.MergeFrom(before))
}

func TestControllerRuntime(t *testing.T) {
	ctrllog.SetLogger(logr.Discard())
	e := apitest.Start(t, apitest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	twice := true
	m, err := ctrl.NewManager(e.Admin(), ctrl.Options{
		Metrics: server.Options{BindAddress: "0"}, LeaderElection: true, LeaderElectionID: "operator", LeaderElectionNamespace: "default",
		LeaderElectionReleaseOnCancel: true, Controller: config.Controller{SkipNameValidation: &twice},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctrl.NewControllerManagedBy(m).For(&appsv1.Deployment{}).Owns(&corev1.ConfigMap{}).Complete(operator{m.GetClient()}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1) // Start's result, read below
	go func() { ended <- m.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	c, err := client.New(e.Admin(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/a:1"}}}}}}
	if err := c.Create(ctx, d); err != nil {
		t.Fatal(err)
	}
	key, owned := client.ObjectKeyFromObject(d), &corev1.ConfigMap{}
	made := func(image string) func() bool {
		return func() bool { return c.Get(ctx, key, owned) == nil && owned.Data["image"] == image }
	}
	e.Eventually("the operator acts", made("registry.example/a:1"))
	if !metav1.IsControlledBy(owned, d) {
		t.Errorf("owners %+v", owned.OwnerReferences)
	}
	if err := c.Delete(ctx, owned); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the operator makes again what it owns", made("registry.example/a:1"))
	before := d.DeepCopy()
	if err := c.Get(ctx, key, before); err != nil {
		t.Fatal(err)
	}
	d = before.DeepCopy()
	d.Spec.Template.Spec.Containers[0].Image = "registry.example/a:2"
	if err := c.Patch(ctx, d, client.StrategicMergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the operator follows", made("registry.example/a:2"))
	e.Eventually("the operator reports", func() bool { return c.Get(ctx, key, d) == nil && d.Status.ObservedGeneration == 2 })
	if err := c.Delete(ctx, d); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the operator lets go", func() bool { return apierrors.IsNotFound(c.Get(ctx, key, d)) })
}
