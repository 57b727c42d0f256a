package ociimage_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/ociimage"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// layoutOf writes an OCI layout with these in its index, and returns its folder.
func layoutOf(t *testing.T, add ...mutate.IndexAddendum) string {
	t.Helper()
	dir := t.TempDir()
	_, err := layout.Write(dir, mutate.AppendManifests(empty.Index, add...))
	must(t, err)
	return dir
}

// archiveOf packs a folder, as `tar -C DIR -cf FILE .` does.
func archiveOf(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	tw := tar.NewWriter(f)
	must(t, tw.AddFS(os.DirFS(dir)))
	must(t, tw.Close())
	return file
}

func image(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 3)
	must(t, err)
	return mutate.MediaType(img, types.OCIManifestSchema1)
}

func digestOf(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := of.Digest()
	must(t, err)
	return h.String()
}

// TestForms reads an image in each form that it may have on disk. What is sent to nodes is an archive of that very image, whole,
// under the name that it is to have there; and nothing is left of what reading it took.
func TestForms(t *testing.T) {
	img := image(t)
	platforms, err := random.Index(1000, 2, 2)
	must(t, err)
	docker := filepath.Join(t.TempDir(), "docker.tar")
	must(t, tarball.WriteToFile(docker, name.MustParseReference("localhost/web:1"), img))
	saved, err := tarball.ImageFromPath(docker, nil)
	must(t, err)
	for form, tc := range map[string]struct{ path, digest string }{
		"layout":              {layoutOf(t, mutate.IndexAddendum{Add: img}), digestOf(t, img)},
		"archive":             {archiveOf(t, layoutOf(t, mutate.IndexAddendum{Add: img})), digestOf(t, img)},
		"several platforms":   {archiveOf(t, layoutOf(t, mutate.IndexAddendum{Add: platforms})), digestOf(t, platforms)},
		"archive of a docker": {docker, digestOf(t, saved)},
	} {
		t.Run(form, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			got, err := ociimage.Open(tc.path)
			must(t, err)
			ref := got.Reference("shop/web")
			if want := "localhost/shop/web:" + strings.TrimPrefix(tc.digest, "sha256:")[:16]; got.Digest() != tc.digest || ref != want {
				t.Errorf("digest %s, reference %s, want %s, %s", got.Digest(), ref, tc.digest, want)
			}
			sent := filepath.Join(t.TempDir(), "sent")
			unpack(t, got.Archive(ref), sent)
			must(t, got.Close())
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
			index, err := layout.ImageIndexFromPath(sent)
			must(t, err)
			must(t, validate.Index(index))
			m, err := index.IndexManifest()
			must(t, err)
			if len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != tc.digest || m.Manifests[0].Annotations["io.containerd.image.name"] != ref {
				t.Errorf("sent %+v", m.Manifests)
			}
		})
	}
}

// unpack writes the files of an archive into a new folder and closes it.
func unpack(t *testing.T, archive io.ReadCloser, dir string) {
	t.Helper()
	seen := map[string]bool{}
	for tr := tar.NewReader(archive); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if seen[h.Name] {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		seen[h.Name] = true
		to := filepath.Join(dir, h.Name)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		data, err := io.ReadAll(tr)
		must(t, err)
		must(t, os.WriteFile(to, data, 0o600))
	}
	must(t, archive.Close())
}

// An upload that ends early closes the archive, and nothing goes on writing it.
func TestArchiveIsLeft(t *testing.T) {
	img, err := ociimage.Open(layoutOf(t, mutate.IndexAddendum{Add: image(t)}))
	must(t, err)
	archive := img.Archive("localhost/web:1")
	if _, err := archive.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	must(t, archive.Close())
	if n, err := archive.Read(make([]byte, 10)); n > 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%d bytes after the end, %v", n, err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, data, 0o600))
		return path
	}
	archive := func(names ...string) []byte {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, n := range names {
			must(t, tw.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg, Mode: 0o600}))
		}
		must(t, tw.Close())
		return b.Bytes()
	}
	artifact := layoutOf(t, mutate.IndexAddendum{Add: image(t)})
	index, err := os.ReadFile(filepath.Join(artifact, "index.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(artifact, "index.json"), bytes.ReplaceAll(index, []byte(types.OCIManifestSchema1), []byte("application/vnd.example+json")), 0o600))
	for what, tc := range map[string]struct{ path, says string }{
		"text":          {write("text", []byte("no image at all, but long enough for the header of a tar archive: "+strings.Repeat("x", 1000))), "text: it is no tar archive"},
		"other archive": {write("other.tar", archive("hello")), "other.tar: it is neither an OCI archive nor an archive of docker save"},
		"way out":       {write("out.tar", archive("oci-layout", "../out")), `out.tar: entry "../out" leads out of the archive`},
		"twice":         {write("twice.tar", archive("oci-layout", "blobs/x", "blobs/x")), "file exists"},
		"empty layout":  {layoutOf(t), "it holds 0 images, and one is wanted"},
		"two images":    {layoutOf(t, mutate.IndexAddendum{Add: image(t)}, mutate.IndexAddendum{Add: image(t)}), "it holds 2 images, and one is wanted"},
		"artifact":      {artifact, "it holds no image but a application/vnd.example+json"},
		"folder":        {t.TempDir(), "cannot read OCI layout"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			if img, err := ociimage.Open(tc.path); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, %v, want %q", img, err, tc.says)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
	if _, err := ociimage.Open(filepath.Join(dir, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, says := range map[string]string{
		"web": "", "shop/web": "", "registry.example:5000/web": "", "localhost/web": "",
		"web:1": "a tag or digest is not part of the name", "web@sha256:" + strings.Repeat("0", 64): "a tag or digest is not part of the name",
		"Web": "repository can only contain the characters", "a b": "repository can only contain the characters", "": "repository",
	} {
		if err := ociimage.CheckName(name); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", name, err, says)
		}
	}
}

// FuzzOpen wants no file to be more than refused, and nothing to be left of it.
func FuzzOpen(f *testing.F) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, data := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `","size":2}]}`,
	} {
		if err := errors.Join(tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(data))}), func() error {
			_, err := tw.Write([]byte(data))
			return err
		}()); err != nil {
			f.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		t.Setenv("TMPDIR", t.TempDir())
		path := filepath.Join(t.TempDir(), "image.tar")
		must(t, os.WriteFile(path, data, 0o600))
		if img, err := ociimage.Open(path); err == nil {
			_ = img.Reference("web")
			archive := img.Archive("localhost/web:1")
			_, _ = io.Copy(io.Discard, archive)
			_ = archive.Close()
			must(t, img.Close())
		}
		if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	})
}
