package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// counted closes done when want pods with a label satisfy ok for the first time.
func (t *target) counted(ctx context.Context, label string, want int, ok func(*corev1.Pod) bool) (done chan struct{}, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	done = make(chan struct{})
	f := informers.NewSharedInformerFactoryWithOptions(t.client, 0, informers.WithNamespace(t.namespace),
		informers.WithTweakListOptions(func(l *metav1.ListOptions) { l.LabelSelector = label }))
	seen := map[types.UID]bool{}
	see := func(o any) {
		if p := o.(*corev1.Pod); ok(p) && !seen[p.UID] {
			if seen[p.UID] = true; len(seen) == want {
				close(done)
			}
		}
	}
	inf := f.Core().V1().Pods().Informer()
	if _, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, o any) { see(o) }}); err != nil {
		cancel()
		return nil, nil, err
	}
	f.StartWithContext(ctx)
	cache.WaitForCacheSync(ctx.Done(), inf.HasSynced)
	return done, func() { cancel(); f.Shutdown() }, nil
}

func await(ctx context.Context, done <-chan struct{}, what string) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(3 * time.Minute):
		return fmt.Errorf("%s did not happen within 3 minutes", what)
	}
}

func template() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/none:1",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}}}}}
}

// measureSchedule makes nodes that nobody runs and takes how fast pods are created and given nodes.
func measureSchedule(ctx context.Context, s *target, o *options) ([]figure, error) {
	if err := each(ctx, o.writers, o.nodes, s.addNode); err != nil {
		return nil, err
	}
	if err := s.awaitUntainted(ctx); err != nil {
		return nil, err
	}
	done, stop, err := s.counted(ctx, "bench=schedule", o.pods, func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
	if err != nil {
		return nil, err
	}
	defer stop()
	begin := time.Now()
	err = each(ctx, o.writers, o.pods, func(ctx context.Context, i int) error {
		_, err := s.client.CoreV1().Pods(s.namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i), Labels: map[string]string{"bench": "schedule"}}, Spec: template(),
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	created := time.Since(begin)
	if err := await(ctx, done, "the scheduling of all pods"); err != nil {
		return nil, err
	}
	found := figure{fmt.Sprintf("%d pods created / scheduled on %d nodes", o.pods, o.nodes), perSecond, []float64{float64(o.pods) / created.Seconds(), rate(o.pods, begin)}, kubernetesSchedule, goalTwice}
	err = s.client.CoreV1().Pods(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{LabelSelector: "bench=schedule"})
	if err != nil {
		return nil, err
	}
	return []figure{found}, s.client.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "bench=node"})
}

// addNode makes a node that no round before had: a controller that remembers one by its name takes it for unreachable.
func (s *target) addNode(ctx context.Context, i int) error {
	nodes := s.client.CoreV1().Nodes()
	n, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", s.namespace, i), Labels: map[string]string{"bench": "node"}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	capacity := corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("110")}
	status, err := json.Marshal(map[string]any{"status": corev1.NodeStatus{Capacity: capacity, Allocatable: capacity,
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}}})
	if err != nil {
		return err
	}
	_, err = nodes.Patch(ctx, n.Name, types.MergePatchType, status, metav1.PatchOptions{}, "status")
	return err
}

// awaitUntainted returns once the server's controllers have seen that the nodes are ready.
func (s *target) awaitUntainted(ctx context.Context) error {
	for {
		nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "bench=node"})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool { return len(n.Spec.Taints) > 0 }) {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// measureDeploy takes how fast one deployment's pods come to exist; they stay pending.
func measureDeploy(ctx context.Context, s *target, o *options) ([]figure, error) {
	done, stop, err := s.counted(ctx, "bench=deploy", o.replicas, func(*corev1.Pod) bool { return true })
	if err != nil {
		return nil, err
	}
	defer stop()
	replicas := int32(o.replicas)
	spec := template()
	spec.NodeSelector = map[string]string{"bench": "nowhere"}
	labels := map[string]string{"bench": "deploy"}
	begin := time.Now()
	_, err = s.client.AppsV1().Deployments(s.namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if err := await(ctx, done, "the creation of all replicas"); err != nil {
		return nil, err
	}
	found := figure{fmt.Sprintf("pods of one deployment of %d", o.replicas), perSecond, []float64{rate(o.replicas, begin)}, kubernetesDeploy, goalTwice}
	return []figure{found}, s.client.AppsV1().Deployments(s.namespace).Delete(ctx, "bench", metav1.DeleteOptions{})
}
