// Command binimage makes an OCI archive of one static executable, for examples and tests: no registry and no
// container engine is needed.
//
//	binimage -o web.tar -add bin/busybox=/bin/busybox path/to/executable
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

type extras []string

func (e *extras) String() string     { return strings.Join(*e, ",") }
func (e *extras) Set(s string) error { *e = append(*e, s); return nil }

func main() {
	out := flag.String("o", "", "write the archive to this `FILE`")
	ref := flag.String("name", "", "call the image this in the archive, as `REFERENCE`")
	var add extras
	flag.Var(&add, "add", "also put a file into the image, `PATH=FILE`; may be repeated")
	flag.Parse()
	if *out == "" || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out, *ref, flag.Arg(0), add); err != nil {
		fmt.Fprintln(os.Stderr, "binimage:", err)
		os.Exit(1)
	}
}

func run(out, ref, executable string, add extras) error {
	name := filepath.Base(executable)
	files := map[string]string{name: executable}
	for _, a := range add {
		to, from, ok := strings.Cut(a, "=")
		if !ok {
			return fmt.Errorf("-add %q is not PATH=FILE", a)
		}
		files[strings.TrimPrefix(to, "/")] = from
	}
	img, err := image(name, files)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "binimage-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	var opts []layout.Option
	if ref != "" {
		opts = append(opts, layout.WithAnnotations(map[string]string{"io.containerd.image.name": ref}))
	}
	if err := l.AppendImage(img, opts...); err != nil {
		return err
	}
	return archive(out, dir)
}

// image has no times of its own, so that the same executable makes the same digest.
func image(name string, files map[string]string) (v1.Image, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return nil, err
	}
	// In order, for the digest's sake.
	for _, p := range slices.Sorted(maps.Keys(files)) {
		data, err := os.ReadFile(files[p])
		if err != nil {
			return nil, err
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := tw.Write(data); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, config(img, name))
}

func config(img v1.Image, name string) *v1.ConfigFile {
	// An image of layers in memory always has a configuration.
	cfg, err := img.ConfigFile()
	if err != nil {
		panic(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config.Entrypoint = []string{"/" + name}
	cfg.Config.Env = []string{"PATH=/:/bin"}
	return cfg
}

func archive(out, dir string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(f)
	if err := tw.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}
