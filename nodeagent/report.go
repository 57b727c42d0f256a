package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

func (a *agent) runtimeVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	v, err := a.runtime.Client().Version(ctx)
	if err != nil {
		return "", fmt.Errorf("containerd does not answer: %w", err)
	}
	return "containerd://" + v.Version, nil
}

// ready is what makes the node Ready: services are routed and containerd answers.
func (a *agent) ready(ctx context.Context) error {
	select {
	case <-a.proxy.Synced():
	default:
		return errors.New("services are not routed yet")
	}
	_, err := a.runtimeVersion(ctx)
	return err
}

// networkProblem is what pods would miss on a node that can run them. The agent may not have got as far as DNS yet.
func (a *agent) networkProblem() error {
	if a.dns == nil {
		return nil
	}
	if err := a.dns.Problem(); err != nil {
		return fmt.Errorf("%w: let the other DNS server listen on addresses of its own, not on all", err)
	}
	return nil
}

// maxImages is how many images a node reports, as many as a kubelet.
const maxImages = 50

func (a *agent) listImages(ctx context.Context) []corev1.ContainerImage {
	list, err := a.images.List(ctx)
	if err != nil {
		return nil
	}
	return slices.Clip(list[:min(len(list), maxImages)])
}
