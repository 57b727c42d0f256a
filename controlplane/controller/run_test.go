package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/scheduler"
)

const soon = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a control plane with all controllers, the scheduler and two nodes that pretend to run pods.
func start(t testing.TB, sick func(*corev1.Pod) bool) client.Client {
	t.Helper()
	c := plane.Start(t)
	log := slog.New(slog.DiscardHandler)
	plane.Go(t, func(ctx context.Context) error {
		return controller.Run(ctx, controller.Config{
			Client: c, ClusterCIDR: plane.Pods, ServiceCIDR: plane.Services, CA: []byte("PEM"), Logger: log,
			APIServerAddresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:6443")},
		})
	})
	plane.Go(t, scheduler.New(scheduler.Config{Client: c, Logger: log}).Run)
	plane.Go(t, plane.Agents(c, sick))
	for i := range 2 {
		plane.AddNode(t, c, plane.Node(fmt.Sprintf("n%d", i)))
	}
	plane.Eventually(t, soon, "service account of namespace default", func() bool {
		_, err := client.Get[*corev1.ServiceAccount](t.Context(), c, "default", "default")
		return err == nil
	})
	return c
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/web:1"}}},
			},
		},
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// change updates an object until nobody else wrote in between.
func change[T kind.Object](t testing.TB, c client.Client, namespace, name string, f func(T)) {
	t.Helper()
	for {
		got := must(client.Get[T](t.Context(), c, namespace, name))(t)
		next := got.DeepCopyObject().(T)
		f(next)
		_, err := client.Update(t.Context(), c, next)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

func rolledOut(t testing.TB, c client.Client, name string) func() bool {
	return func() bool {
		d := must(client.Get[*appsv1.Deployment](t.Context(), c, "default", name))(t)
		n := *d.Spec.Replicas
		s := d.Status
		return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n
	}
}

func podsOf(t testing.TB, c client.Client, namespace string) []*corev1.Pod {
	t.Helper()
	return must(client.List[*corev1.Pod](t.Context(), c, client.Query{Namespace: namespace}))(t)
}

func TestDeploymentFromCreationToRollback(t *testing.T) {
	c := start(t, func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "registry.example/web:broken" })
	must(client.Create(t.Context(), c, newDeployment("web", 5)))(t)
	plane.Eventually(t, soon, "rolled out", rolledOut(t, c, "web"))
	nodes := map[string]int{}
	for _, p := range podsOf(t, c, "default") {
		nodes[p.Spec.NodeName]++
	}
	if len(nodes) != 2 || nodes["n0"] < 2 || nodes["n1"] < 2 {
		t.Errorf("pods are spread as %v", nodes)
	}

	change(t, c, "default", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "registry.example/web:2" })
	plane.Eventually(t, soon, "second revision rolled out", rolledOut(t, c, "web"))
	d := must(client.Get[*appsv1.Deployment](t.Context(), c, "default", "web"))(t)
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "2" {
		t.Errorf("revision is %q", got)
	}

	change(t, c, "default", "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "registry.example/web:broken"
		seconds := int32(1)
		d.Spec.ProgressDeadlineSeconds = &seconds
	})
	plane.Eventually(t, soon, "deadline exceeded", func() bool {
		d := must(client.Get[*appsv1.Deployment](t.Context(), c, "default", "web"))(t)
		for _, cond := range d.Status.Conditions {
			if cond.Type == appsv1.DeploymentProgressing && cond.Reason == "ProgressDeadlineExceeded" {
				return d.Status.AvailableReplicas >= 4
			}
		}
		return false
	})
	change(t, c, "default", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "registry.example/web:1" })
	plane.Eventually(t, soon, "rolled back", rolledOut(t, c, "web"))
	d = must(client.Get[*appsv1.Deployment](t.Context(), c, "default", "web"))(t)
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "4" {
		t.Errorf("revision is %q after the rollback", got)
	}
	sets := must(client.List[*appsv1.ReplicaSet](t.Context(), c, client.Query{Namespace: "default"}))(t)
	if len(sets) != 3 {
		t.Errorf("there are %d replica sets", len(sets))
	}
}

func TestRecreateNeverRunsBoth(t *testing.T) {
	c := start(t, nil)
	d := newDeployment("web", 3)
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	must(client.Create(t.Context(), c, d))(t)
	plane.Eventually(t, soon, "rolled out", rolledOut(t, c, "web"))
	change(t, c, "default", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "registry.example/web:2" })
	plane.Eventually(t, soon, "rolled out again", func() bool {
		images := map[string]bool{}
		for _, p := range podsOf(t, c, "default") {
			images[p.Spec.Containers[0].Image] = true
		}
		if len(images) > 1 {
			t.Fatalf("pods of several templates at once: %v", images)
		}
		return rolledOut(t, c, "web")()
	})
}

func TestDeletionPolicies(t *testing.T) {
	c := start(t, nil)
	cases := []struct {
		policy metav1.DeletionPropagation
		stays  bool
	}{
		{metav1.DeletePropagationBackground, false},
		{metav1.DeletePropagationForeground, false},
		{metav1.DeletePropagationOrphan, true},
	}
	for _, tc := range cases {
		t.Run(string(tc.policy), func(t *testing.T) {
			must(client.Create(t.Context(), c, newDeployment("web", 3)))(t)
			plane.Eventually(t, soon, "rolled out", rolledOut(t, c, "web"))
			if err := client.Delete[*appsv1.Deployment](t.Context(), c, "default", "web", metav1.DeleteOptions{PropagationPolicy: &tc.policy}); err != nil {
				t.Fatal(err)
			}
			plane.Eventually(t, soon, "deployment gone", func() bool {
				_, err := client.Get[*appsv1.Deployment](t.Context(), c, "default", "web")
				return apierrors.IsNotFound(err)
			})
			sets := func() []*appsv1.ReplicaSet {
				return must(client.List[*appsv1.ReplicaSet](t.Context(), c, client.Query{Namespace: "default"}))(t)
			}
			if tc.stays {
				if len(sets()) != 1 || len(sets()[0].OwnerReferences) != 0 {
					t.Fatalf("orphaned sets: %v", sets())
				}
				must(client.Create(t.Context(), c, newDeployment("web", 3)))(t)
				plane.Eventually(t, soon, "adopted", func() bool { return len(sets()) == 1 && len(sets()[0].OwnerReferences) == 1 })
				return
			}
			plane.Eventually(t, soon, "sets and pods gone", func() bool { return len(sets()) == 0 && len(podsOf(t, c, "default")) == 0 })
		})
	}
}

func TestNamespaceDeletion(t *testing.T) {
	c := start(t, nil)
	must(client.Create(t.Context(), c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "app"}}))(t)
	plane.Eventually(t, soon, "CA in namespace", func() bool {
		m, err := client.Get[*corev1.ConfigMap](t.Context(), c, "app", "kube-root-ca.crt")
		return err == nil && m.Data["ca.crt"] == "PEM"
	})
	d := newDeployment("web", 3)
	d.Namespace = "app"
	must(client.Create(t.Context(), c, d))(t)
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Namespace: "app", Finalizers: []string{"example.com/hold"}}}
	must(client.Create(t.Context(), c, held))(t)
	plane.Eventually(t, soon, "pods", func() bool { return len(podsOf(t, c, "app")) == 3 })
	if err := client.Delete[*corev1.Namespace](t.Context(), c, "", "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	plane.Eventually(t, soon, "conditions name the finalizer", func() bool {
		ns := must(client.Get[*corev1.Namespace](t.Context(), c, "", "app"))(t)
		for _, cond := range ns.Status.Conditions {
			if cond.Type == corev1.NamespaceFinalizersRemaining && cond.Status == corev1.ConditionTrue {
				return cond.Message == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
			}
		}
		return false
	})
	change(t, c, "app", "held", func(m *corev1.ConfigMap) { m.Finalizers = nil })
	plane.Eventually(t, soon, "namespace gone", func() bool {
		_, err := client.Get[*corev1.Namespace](t.Context(), c, "", "app")
		return apierrors.IsNotFound(err)
	})
	for _, k := range kind.Builtin().Kinds() {
		if k.Namespaced {
			left, err := c.List(t.Context(), k, client.Query{Namespace: "app"})
			if err != nil || len(left) > 0 {
				t.Errorf("%s left behind: %d, %v", k.Plural, len(left), err)
			}
		}
	}
}

func TestServicesAndBudgets(t *testing.T) {
	c := start(t, nil)
	must(client.Create(t.Context(), c, newDeployment("web", 3)))(t)
	must(client.Create(t.Context(), c, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}))(t)
	half := intstr.FromString("50%")
	must(client.Create(t.Context(), c, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &half, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}))(t)
	plane.Eventually(t, soon, "endpoints ready", func() bool {
		list := must(client.List[*discoveryv1.EndpointSlice](t.Context(), c, client.Query{Namespace: "default"}))(t)
		for _, s := range list {
			if s.Labels[discoveryv1.LabelServiceName] == "web" && len(s.Endpoints) == 1 && *s.Ports[0].Port == 8080 && *s.Endpoints[0].Conditions.Ready {
				return true // the agents give every pod the same address, so there is one endpoint
			}
		}
		return false
	})
	plane.Eventually(t, soon, "budget counted", func() bool {
		b := must(client.Get[*policyv1.PodDisruptionBudget](t.Context(), c, "default", "web"))(t)
		s := b.Status
		return s.ExpectedPods == 3 && s.CurrentHealthy == 3 && s.DesiredHealthy == 2 && s.DisruptionsAllowed == 1 && s.ObservedGeneration == b.Generation
	})
}

func TestSystemObjects(t *testing.T) {
	c := start(t, nil)
	plane.Eventually(t, soon, "kubernetes service with endpoints", func() bool {
		svc, err := client.Get[*corev1.Service](t.Context(), c, "default", "kubernetes")
		if err != nil {
			return false
		}
		if svc.Spec.ClusterIP != "10.96.0.1" {
			t.Fatalf("cluster IP is %s", svc.Spec.ClusterIP)
		}
		e, err := client.Get[*corev1.Endpoints](t.Context(), c, "default", "kubernetes")
		return err == nil && e.Subsets[0].Addresses[0].IP == "192.0.2.1" && e.Subsets[0].Ports[0].Port == 6443
	})
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		plane.Eventually(t, soon, "namespace "+name, func() bool {
			_, err := client.Get[*corev1.Namespace](t.Context(), c, "", name)
			return err == nil
		})
	}
	plane.Eventually(t, soon, "nodes have ranges of their own", func() bool {
		a := must(client.Get[*corev1.Node](t.Context(), c, "", "n0"))(t).Spec.PodCIDR
		b := must(client.Get[*corev1.Node](t.Context(), c, "", "n1"))(t).Spec.PodCIDR
		return a != "" && b != "" && a != b
	})
}

func TestReplicationControllerKeepsItsPods(t *testing.T) {
	c := start(t, nil)
	three, labels := int32(3), map[string]string{"app": "rc"}
	spec := func() corev1.PodSpec {
		return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/web:1"}}}
	}
	stray := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stray", Namespace: "default", Labels: labels}, Spec: spec()}
	must(client.Create(t.Context(), c, stray))(t)
	must(client.Create(t.Context(), c, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: "rc", Namespace: "default"},
		Spec: corev1.ReplicationControllerSpec{
			Replicas: &three, Selector: labels,
			Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec()},
		},
	}))(t)
	counts := func(n int32) func() bool {
		return func() bool {
			s := must(client.Get[*corev1.ReplicationController](t.Context(), c, "default", "rc"))(t).Status
			return s.Replicas == n && s.ReadyReplicas == n && s.AvailableReplicas == n && s.FullyLabeledReplicas == n
		}
	}
	plane.Eventually(t, soon, "three pods, the stray one among them", counts(3))
	for _, p := range podsOf(t, c, "default") {
		if ref := metav1.GetControllerOf(p); ref == nil || ref.Kind != "ReplicationController" || ref.APIVersion != "v1" || ref.Name != "rc" {
			t.Errorf("pod %s belongs to %v", p.Name, ref)
		}
	}
	must(0, client.Delete[*corev1.Pod](t.Context(), c, "default", "stray", metav1.DeleteOptions{}))(t)
	plane.Eventually(t, soon, "another pod in its place", func() bool {
		_, err := client.Get[*corev1.Pod](t.Context(), c, "default", "stray")
		return apierrors.IsNotFound(err) && counts(3)()
	})
	change(t, c, "default", "rc", func(rc *corev1.ReplicationController) { *rc.Spec.Replicas = 1 })
	plane.Eventually(t, soon, "one pod", counts(1))
}
