// Package ociimage reads container images from an operator's disk: OCI archives and layouts, and the archives of
// docker save.
package ociimage

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// refAnnotation names an image in an OCI index, in full, as containerd's importer reads it.
const refAnnotation = "io.containerd.image.name"

// defaultRegistry is put before names without one, so that they can not be mistaken for a public registry's.
const defaultRegistry = "localhost"

// tagDigits is how many digits of the digest make a reference's tag.
const tagDigits = 16

// Image is an image on disk. It is read again for each Archive.
type Image struct {
	index  v1.ImageIndex // of one entry: the image, or an index of its platforms
	digest v1.Hash
	dir    string // of an extracted archive, removed by close; "" for a layout
}

// CheckName says what is wrong with an image's name, which has no tag or digest.
func CheckName(s string) error {
	if strings.ContainsAny(s[strings.LastIndex(s, "/")+1:], ":@") {
		return errors.New("a tag or digest is not part of the name; the tag is made of the image's digest")
	}
	_, err := name.NewRepository(fullName(s), name.StrictValidation)
	return err
}

func fullName(s string) string {
	first, _, ok := strings.Cut(s, "/")
	if ok && (strings.ContainsAny(first, ".:") || first == defaultRegistry) {
		return s
	}
	return defaultRegistry + "/" + s
}

// Open reads what is at path: a directory with an OCI layout, or a file with an OCI or docker archive. A missing
// path is fs.ErrNotExist.
func Open(path string) (*Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read image: %w", err)
	}
	if info.IsDir() {
		return fromLayout(path)
	}
	isOCI, err := hasFile(path, "oci-layout")
	if err != nil {
		return nil, fmt.Errorf("cannot read image %s: %w", path, err)
	}
	if !isOCI {
		return fromDocker(path)
	}
	return fromArchive(path)
}

func fromLayout(dir string) (*Image, error) {
	l, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read OCI layout %s: %w", dir, err)
	}
	m, err := l.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("cannot read OCI layout %s: %w", dir, err)
	}
	if len(m.Manifests) != 1 {
		return nil, fmt.Errorf("cannot use %s: it holds %d images, and one is wanted", dir, len(m.Manifests))
	}
	if t := m.Manifests[0].MediaType; !t.IsImage() && !t.IsIndex() {
		return nil, fmt.Errorf("cannot use %s: it holds no image but a %s", dir, t)
	}
	return &Image{index: l, digest: m.Manifests[0].Digest}, nil
}

func fromDocker(path string) (*Image, error) {
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read image %s: it is neither an OCI archive nor an archive of docker save with one image: %w", path, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, fmt.Errorf("cannot read image %s: %w", path, err)
	}
	return &Image{index: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img}), digest: digest}, nil
}

// fromArchive extracts an OCI archive: a layout is read at random.
func fromArchive(path string) (_ *Image, err error) {
	dir, err := os.MkdirTemp("", "fairlead-image-")
	if err != nil {
		return nil, fmt.Errorf("cannot read image %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := extract(path, dir); err != nil {
		return nil, fmt.Errorf("cannot read image %s: %w", path, err)
	}
	img, err := fromLayout(dir)
	if err != nil {
		return nil, err
	}
	img.dir = dir
	return img, nil
}

// Close removes what Open extracted.
func (i *Image) Close() error {
	if i.dir == "" {
		return nil
	}
	return os.RemoveAll(i.dir)
}

func extract(path, dir string) error {
	return eachFile(path, func(h *tar.Header, r io.Reader) error {
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("entry %q leads out of the archive", h.Name)
		}
		to := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			return os.MkdirAll(to, 0o755)
		case tar.TypeReg:
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			_, err = io.Copy(f, r)
			return errors.Join(err, f.Close())
		}
		return nil
	})
}

var errFound = errors.New("found")

func hasFile(path, file string) (bool, error) {
	err := eachFile(path, func(h *tar.Header, _ io.Reader) error {
		if filepath.Clean(h.Name) == file {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

func eachFile(path string, do func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		if err := do(h, tr); err != nil {
			return err
		}
	}
}

// Digest is that of the image's manifest, or of the index of its platforms: sha256:….
func (i *Image) Digest() string { return i.digest.String() }

// Reference is the full name of the image with a tag made of its digest.
func (i *Image) Reference(name string) string {
	return fullName(name) + ":" + i.digest.Hex[:tagDigits]
}

// Archive returns an OCI archive of the image in which it is called ref. It is made while it is read; the caller
// closes it.
func (i *Image) Archive(ref string) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(i.write(w, ref)) }()
	return r
}

func (i *Image) write(w io.Writer, ref string) error {
	tw := tar.NewWriter(w)
	seen := map[v1.Hash]bool{}
	m, err := i.index.IndexManifest()
	if err != nil {
		return err
	}
	top := m.DeepCopy()
	top.Manifests[0].Annotations = map[string]string{refAnnotation: ref}
	index, err := json.Marshal(top)
	if err != nil {
		return err
	}
	if err := add(tw, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := add(tw, "index.json", index); err != nil {
		return err
	}
	if err := writeIndexEntries(tw, i.index, seen); err != nil {
		return err
	}
	return tw.Close()
}

func writeIndexEntries(tw *tar.Writer, index v1.ImageIndex, seen map[v1.Hash]bool) error {
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		switch {
		case d.MediaType.IsIndex():
			sub, err := index.ImageIndex(d.Digest)
			if err != nil {
				return err
			}
			raw, err := sub.RawManifest()
			if err != nil {
				return err
			}
			if err := addBlob(tw, d.Digest, raw, seen); err != nil {
				return err
			}
			if err := writeIndexEntries(tw, sub, seen); err != nil {
				return err
			}
		case d.MediaType.IsImage():
			img, err := index.Image(d.Digest)
			if err != nil {
				return err
			}
			if err := writeImage(tw, img, d.Digest, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeImage(tw *tar.Writer, img v1.Image, digest v1.Hash, seen map[v1.Hash]bool) error {
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	if err := addBlob(tw, digest, raw, seen); err != nil {
		return err
	}
	cfg, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	cfgName, err := img.ConfigName()
	if err != nil {
		return err
	}
	if err := addBlob(tw, cfgName, cfg, seen); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := addLayer(tw, l, seen); err != nil {
			return err
		}
	}
	return nil
}

func addLayer(tw *tar.Writer, l v1.Layer, seen map[v1.Hash]bool) error {
	digest, err := l.Digest()
	if err != nil || seen[digest] {
		return err
	}
	seen[digest] = true
	size, err := l.Size()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := tw.WriteHeader(header(blobPath(digest), size)); err != nil {
		return err
	}
	_, err = io.Copy(tw, r)
	return err
}

func addBlob(tw *tar.Writer, digest v1.Hash, data []byte, seen map[v1.Hash]bool) error {
	if seen[digest] {
		return nil
	}
	seen[digest] = true
	return add(tw, blobPath(digest), data)
}

func add(tw *tar.Writer, path string, data []byte) error {
	if err := tw.WriteHeader(header(path, int64(len(data)))); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}

func header(path string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: path, Size: size, Mode: 0o644, Format: tar.FormatPAX}
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
