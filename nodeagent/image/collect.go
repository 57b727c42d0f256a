package image

import (
	"context"
	"fmt"
	"slices"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// collectInterval is how often the disk is looked at.
const collectInterval = 5 * time.Minute

// Run collects images as the disk fills, until ctx ends. inUse returns the names, as pods give them, of images that must
// stay.
func (m *Manager) Run(ctx context.Context, inUse func() []string) {
	t := time.NewTicker(collectInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if _, err := m.Collect(ctx, inUse()); err != nil && ctx.Err() == nil {
				m.opt.Logger.Error("cannot collect images", "error", err)
			}
		}
	}
}

// Collect removes images that are not in use, the longest unused first, when the disk is fuller than the high mark, until it
// is below the low one. It returns the names that it removed.
func (m *Manager) Collect(ctx context.Context, inUse []string) ([]string, error) {
	used, err := diskPercent(m.opt.Root)
	if err != nil {
		return nil, err
	}
	if used < m.opt.HighPercent {
		return nil, nil
	}
	return m.remove(ctx, inUse, func() (bool, error) {
		used, err := diskPercent(m.opt.Root)
		return used < m.opt.LowPercent, err
	})
}

// RemoveUnused removes all images that are not in use, however full the disk is, and returns their names.
func (m *Manager) RemoveUnused(ctx context.Context, inUse []string) ([]string, error) {
	return m.remove(ctx, inUse, func() (bool, error) { return false, nil })
}

// remove removes images that are not in use until it is enough.
func (m *Manager) remove(ctx context.Context, inUse []string, enough func() (bool, error)) ([]string, error) {
	groups, err := m.candidates(ctx, inUse)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, g := range groups {
		if done, err := enough(); done || err != nil {
			return removed, err
		}
		for i, name := range g.names {
			var opts []images.DeleteOpt
			if i == len(g.names)-1 { // the last name of a content frees it
				opts = append(opts, images.SynchronousDelete())
			}
			if err := m.opt.Client.ImageService().Delete(ctx, name, opts...); err != nil && !errdefs.IsNotFound(err) {
				return removed, fmt.Errorf("cannot remove image %s: %w", name, err)
			}
			removed = append(removed, name)
		}
		m.mu.Lock()
		delete(m.known, g.digest)
		m.mu.Unlock()
		m.opt.Logger.Info("unused image removed", "images", g.names)
	}
	return removed, nil
}

type candidate struct {
	digest   digest.Digest
	names    []string
	imported bool // no registry need have it
	last     time.Time
}

// candidates are the unused contents with all their names, the longest unused first; those that came in an archive after
// those that can be pulled again.
func (m *Manager) candidates(ctx context.Context, inUse []string) ([]*candidate, error) {
	all, err := m.opt.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	keep := map[string]bool{}
	for _, name := range inUse {
		if n, err := Normalize(name); err == nil {
			keep[n] = true
		}
	}
	byDigest := map[digest.Digest]*candidate{}
	kept := map[digest.Digest]bool{}
	m.mu.Lock()
	for _, img := range all {
		last := img.UpdatedAt
		if t := m.used[img.Name]; t.After(last) {
			last = t
		}
		c := byDigest[img.Target.Digest]
		if c == nil {
			c = &candidate{digest: img.Target.Digest}
			byDigest[c.digest] = c
		}
		c.names = append(c.names, img.Name)
		c.imported = c.imported || img.Labels[labelImported] != ""
		if last.After(c.last) {
			c.last = last
		}
		if keep[img.Name] || m.opt.Clock.Since(last) < m.opt.MinAge {
			kept[c.digest] = true
		}
	}
	m.mu.Unlock()
	var out []*candidate
	for d, c := range byDigest {
		if !kept[d] {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *candidate) int {
		if a.imported != b.imported {
			if b.imported {
				return -1
			}
			return 1
		}
		return a.last.Compare(b.last)
	})
	return out, nil
}

func diskPercent(path string) (int, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("cannot measure disk of %s: %w", path, err)
	}
	total := st.Blocks - st.Bfree + st.Bavail
	if total == 0 {
		return 0, nil
	}
	return int((st.Blocks - st.Bfree) * 100 / total), nil
}

// List returns the images on the node as a Node's status has them, the largest first.
func (m *Manager) List(ctx context.Context) ([]corev1.ContainerImage, error) {
	all, err := m.opt.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	byDigest := map[digest.Digest]*corev1.ContainerImage{}
	for _, img := range all {
		ci := byDigest[img.Target.Digest]
		if ci == nil {
			size, err := containerd.NewImage(m.opt.Client, img).Size(ctx)
			if err != nil {
				m.opt.Logger.Debug("cannot measure image", "image", img.Name, "error", err)
			}
			ci = &corev1.ContainerImage{SizeBytes: size}
			byDigest[img.Target.Digest] = ci
		}
		ci.Names = append(ci.Names, img.Name)
	}
	out := make([]corev1.ContainerImage, 0, len(byDigest))
	for _, ci := range byDigest {
		slices.Sort(ci.Names)
		out = append(out, *ci)
	}
	slices.SortFunc(out, func(a, b corev1.ContainerImage) int {
		if a.SizeBytes != b.SizeBytes {
			return int(min(max(b.SizeBytes-a.SizeBytes, -1), 1))
		}
		return slices.Compare(a.Names, b.Names)
	})
	return out, nil
}
