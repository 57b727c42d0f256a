package provider

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// deadNode is the name of a node that ends no pods.
const deadNode = "dead"

// runNodes gives every pod the status that its first container's image asks for, as if it ran on a node: an image
// named crash crashes, one named missing can not be pulled, every other runs. Pods that are deleted go at once, but for those on a node that is dead.
func runNodes(ctx context.Context, clients kubernetes.Interface) error {
	pods := clients.CoreV1().Pods(metav1.NamespaceAll)
	for ctx.Err() == nil {
		list, err := pods.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if err := playNode(ctx, clients, &list.Items[i]); err != nil {
				return err
			}
		}
		watch, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return err
		}
		for event := range watch.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok && event.Type != "DELETED" {
				if err := playNode(ctx, clients, pod); err != nil {
					watch.Stop()
					return err
				}
			}
		}
	}
	return nil
}

func playNode(ctx context.Context, clients kubernetes.Interface, pod *corev1.Pod) error {
	pods := clients.CoreV1().Pods(pod.Namespace)
	if pod.DeletionTimestamp != nil {
		if pod.Spec.NodeName == deadNode {
			return nil
		}
		now := int64(0)
		return passable(pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	}
	if pod.Status.Phase != corev1.PodPending || len(pod.Status.ContainerStatuses) > 0 {
		return nil
	}
	pod = pod.DeepCopy()
	container := pod.Spec.Containers[0]
	status := corev1.ContainerStatus{Name: container.Name, Image: container.Image}
	ready := corev1.ConditionFalse
	switch {
	case strings.HasPrefix(container.Image, "crash"):
		status.RestartCount = 3
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container"}
		status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}
	case strings.HasPrefix(container.Image, "missing"):
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "InvalidImageName", Message: "no such name"}
	default:
		pod.Status.Phase, ready, status.Ready = corev1.PodRunning, corev1.ConditionTrue, true
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()})
	_, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return passable(err)
}

// passable drops the errors of an object that changed meanwhile: another event is on its way.
func passable(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
