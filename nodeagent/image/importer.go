package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// labelImported marks an image that came in an archive.
const labelImported = "fairlead.io/imported"

// Imported is an image that an archive brought.
type Imported struct {
	Name   string        `json:"name"` // normalized
	Digest digest.Digest `json:"digest"`
}

// Import takes an OCI layout or a docker archive as a tar stream, compressed or not, and unpacks its images. Content
// that is there already is not written again, so importing twice changes nothing. Images without a full name in the
// archive are refused: nothing could refer to them.
func (m *Manager) Import(ctx context.Context, r io.Reader) ([]Imported, error) {
	plain, err := compression.DecompressStream(r)
	if err != nil {
		return nil, fmt.Errorf("cannot read image archive: %w", err)
	}
	defer plain.Close()
	imgs, err := m.opt.Client.Import(ctx, plain, containerd.WithImageRefTranslator(archiveName),
		containerd.WithImageLabels(map[string]string{labelImported: "true"}))
	if err != nil {
		return nil, fmt.Errorf("cannot import image archive: %w", err)
	}
	if len(imgs) == 0 {
		return nil, errors.New("cannot import image archive: no image in it has a name with registry and tag")
	}
	out := make([]Imported, 0, len(imgs))
	for _, img := range imgs {
		if _, err := m.details(ctx, img); err != nil {
			return nil, err
		}
		if err := m.nameByDigest(ctx, img); err != nil {
			return nil, err
		}
		m.mu.Lock()
		m.used[img.Name] = m.opt.Clock.Now()
		m.mu.Unlock()
		m.opt.Logger.Info("image imported", "image", img.Name, "digest", img.Target.Digest)
		out = append(out, Imported{img.Name, img.Target.Digest})
	}
	return out, nil
}

// archiveName normalizes a name in an archive; a bare tag, which OCI layouts may have, names nothing.
func archiveName(name string) string {
	if !strings.ContainsAny(name, ":/@") {
		return ""
	}
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return ""
	}
	return named.String()
}

// nameByDigest adds repository@digest, so that pods can name the content.
func (m *Manager) nameByDigest(ctx context.Context, img images.Image) error {
	named, err := reference.ParseNormalizedNamed(img.Name)
	if err != nil {
		return fmt.Errorf("cannot parse image name %q: %w", img.Name, err)
	}
	byDigest := images.Image{Name: reference.TrimNamed(named).Name() + "@" + img.Target.Digest.String(), Target: img.Target}
	if _, err := m.opt.Client.ImageService().Create(ctx, byDigest); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("cannot name image %s: %w", byDigest.Name, err)
	}
	return nil
}
