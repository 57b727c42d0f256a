package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Purge removes what is left once all pods are gone: images, containerd's namespace, the cgroup of all pods, the state
// directory's folders. It fails while anything is in use, and is idempotent.
func (r *Runtime) Purge(ctx context.Context) error {
	all, err := r.client.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list images: %w", err)
	}
	for i, img := range all {
		var opts []images.DeleteOpt
		if i == len(all)-1 { // the last one waits until content and snapshots are collected
			opts = append(opts, images.SynchronousDelete())
		}
		if err := r.client.ImageService().Delete(ctx, img.Name, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot remove image %s: %w", img.Name, err)
		}
	}
	err = r.client.NamespaceService().Delete(ctx, r.opt.Namespace)
	if errdefs.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("cannot remove containerd's namespace %s: %w", r.opt.Namespace, err)
	}
	if err == nil {
		err = removeNamespaceFolders(r.opt.Namespace)
	}
	err = errors.Join(err, r.RemoveAllResources(),
		os.RemoveAll(filepath.Join(r.opt.StateDir, "io")), removeTree(filepath.Join(r.opt.StateDir, "ns")))
	// The directory goes too, unless somebody else keeps something in it.
	if e := os.Remove(r.opt.StateDir); e != nil && !errors.Is(e, fs.ErrNotExist) && !errors.Is(e, unix.ENOTEMPTY) {
		err = errors.Join(err, e)
	}
	return err
}

// removeNamespaceFolders removes the folders that containerd and its shims leave for a namespace which is gone, where a
// distribution's containerd has them. There is nothing in them, but for folders of containers that ended with the host; one that
// has more in it stays.
func removeNamespaceFolders(namespace string) error {
	for _, dir := range []string{
		"/run/containerd/io.containerd.runtime.v2.task", "/run/containerd/runc", "/var/lib/containerd/io.containerd.runtime.v2.task",
	} {
		if err := removeTree(filepath.Join(dir, namespace)); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("cannot remove containerd's folder of a namespace: %w", err)
		}
	}
	return nil
}
