package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// measureRuntime takes what containerd and runc need by themselves for the container of such a pod, without network,
// volumes or anybody who watches: what is left of a pod's start is ours.
func (n *node) measureRuntime(ctx context.Context, o *options) (err error) {
	client, err := containerd.New(filepath.Join(n.dir, "containerd.sock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx = namespaces.WithNamespace(ctx, config.ContainerdNamespace)
	image, err := client.GetImage(ctx, benchImage)
	if err != nil {
		return err
	}
	var took latencies
	for i := range 20 {
		begin := time.Now()
		c, err := runContainer(ctx, client, image, fmt.Sprintf("bench-one-%d", i))
		if err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		if err := c.remove(ctx); err != nil {
			return err
		}
	}
	started := make([]*running, o.burst)
	var g errgroup.Group
	begin := time.Now()
	for i := range started {
		g.Go(func() (err error) {
			started[i], err = runContainer(ctx, client, image, fmt.Sprintf("bench-burst-%d", i))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	all := time.Since(begin)
	for _, c := range started {
		if err := c.remove(ctx); err != nil {
			return err
		}
	}
	printAlone(figure{"container of a pod by containerd and runc alone, p50 / p99", milliseconds, took.middleAndTail(), "", ""},
		figure{fmt.Sprintf("%d such containers at once", o.burst), milliseconds, []float64{millis(all)}, "", ""})
	return nil
}

// running is a container and its process, nil before there is one.
type running struct {
	container containerd.Container
	task      containerd.Task
}

func runContainer(ctx context.Context, client *containerd.Client, image containerd.Image, id string) (_ *running, err error) {
	c, err := client.NewContainer(ctx, id, containerd.WithNewSnapshot(id, image),
		containerd.WithNewSpec(oci.WithImageConfigArgs(image, []string{"sleep", "100000"})))
	if err != nil {
		return nil, fmt.Errorf("cannot create container %s: %w", id, err)
	}
	r := &running{container: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.remove(context.WithoutCancel(ctx)))
		}
	}()
	if r.task, err = c.NewTask(ctx, cio.NullIO); err != nil {
		return nil, fmt.Errorf("cannot create the task of container %s: %w", id, err)
	}
	if err := r.task.Start(ctx); err != nil {
		return nil, fmt.Errorf("cannot start container %s: %w", id, err)
	}
	return r, nil
}

func (r *running) remove(ctx context.Context) error {
	var err error
	if r.task != nil {
		_, err = r.task.Delete(ctx, containerd.WithProcessKill)
	}
	return errors.Join(err, r.container.Delete(ctx, containerd.WithSnapshotCleanup))
}
