package containertest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// applets are the commands that the test image has, all of them busybox.
var applets = []string{"sh", "cat", "echo", "sleep", "ls", "id", "env", "hostname", "nc", "wget", "kill", "ps", "touch", "dd",
	"head", "mount", "grep", "stat", "test", "true", "false", "seq", "tail", "pwd", "ip", "stty", "readlink", "mkdir", "tar", "httpd",
	"chroot", "date", "tty"}

// Busybox is a one-layer image of /bin/busybox (package busybox-static) with a user "app" (1000) and a group "extra" (2000)
// that has it as a member.
func Busybox(change func(*v1.Config)) (v1.Image, error) {
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("cannot make image: %w", err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err == nil {
			err = tw.WriteHeader(&h)
		}
		if err == nil {
			_, err = tw.Write(content)
		}
	}
	for _, dir := range []string{"bin/", "etc/", "tmp/", "root/", "dev/", "proc/", "sys/"} {
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, data)
	for _, a := range applets {
		add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"))
	add(tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\napp:x:1000:\nextra:x:2000:app\n"))
	if err == nil {
		err = tw.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make image: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return nil, fmt.Errorf("cannot make image: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("cannot make image: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("cannot make image: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.OS = runtime.GOARCH, "linux"
	cfg.Config.Cmd = []string{"/bin/sh"}
	if change != nil {
		change(&cfg.Config)
	}
	return mutate.ConfigFile(img, cfg)
}

// Archive is the image as a docker archive under a name.
func Archive(ref string, img v1.Image) (io.Reader, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return nil, fmt.Errorf("cannot name image: %w", err)
	}
	var buf bytes.Buffer
	if err := tarball.Write(tag, img, &buf); err != nil {
		return nil, fmt.Errorf("cannot write image: %w", err)
	}
	return &buf, nil
}
