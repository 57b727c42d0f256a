package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// target is a server that speaks Kubernetes' API, ours or another.
type target struct {
	config *rest.Config
	client kubernetes.Interface
	// processes are those that it consists of, for its memory; empty when they are not known.
	processes []int
	// namespace is that of the round.
	namespace string
}

func connect(kubeconfig string, processes []int) (*target, error) {
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", kubeconfig, err)
	}
	c.QPS = -1
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client from %s: %w", kubeconfig, err)
	}
	return &target{config: c, client: client, processes: processes, namespace: metav1.NamespaceDefault}, nil
}

// enter makes a namespace for a round, and waits until it has the service account without which no pod is admitted.
func (t *target) enter(ctx context.Context) (leave func() error, err error) {
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	if _, err := t.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	for {
		_, err := t.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			break
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	t.namespace = name
	return func() error {
		t.namespace = metav1.NamespaceDefault
		return t.remove(context.WithoutCancel(ctx), name)
	}, nil
}

// remove deletes a namespace and waits until it is gone with all that is in it, which would otherwise go on beside what is
// measured next.
func (t *target) remove(ctx context.Context, name string) error {
	if err := t.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for {
		_, err := t.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// rss is the resident memory of the target's processes, in MB.
func (t *target) rss() float64 {
	total := 0
	for _, pid := range t.processes {
		total += processRSS(pid)
	}
	return float64(total) / 1000
}

// processRSS is in kB.
func processRSS(pid int) int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(v)[0])
			return n
		}
	}
	return 0
}
