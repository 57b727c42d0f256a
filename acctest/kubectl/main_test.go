// Package kubectl plays transcripts with kubectl against a cluster of one real machine: what needs pods that run.
package kubectl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
)

const (
	module   = "github.com/fairlead-io/terraform-provider-fairlead"
	dir      = "/var/tmp/fairlead-kubectl" // of the machine; not below os.TempDir, which may be an overlay
	nodeName = "flk-1"

	// toolsImage has a shell that ends at once, helloImage a web server that serves /etc, helloImage+"2" is another name
	// of the same.
	toolsImage = "localhost/tools:1"
	helloImage = "localhost/hello:1"

	// together is how many transcripts are played at once: most of the time they wait.
	together = "6"

	// setupTimeout covers a build without cache, the making of the machines' tree, and the installation of containerd.
	setupTimeout = 15 * time.Minute
	// readyTimeout bounds how long the node may take until pods can be made on it.
	readyTimeout = time.Minute
	pollEvery    = 100 * time.Millisecond
)

// node is the machine that all tests share.
var node struct {
	client     *kubernetes.Clientset
	address    string
	kubeconfig string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	fleet, err := machine.NewFleet(ctx, dir, machine.CacheDir(), "flk0", netip.MustParsePrefix("10.78.31.0/24"))
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if err := start(ctx, fleet); err != nil {
		return 1, err
	}
	if err := flag.Set("test.parallel", together); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// start makes a machine a cluster of one node, with the tests' image on it.
func start(ctx context.Context, fleet *machine.Fleet) error {
	m, err := fleet.Start(ctx, nodeName)
	if err != nil {
		return err
	}
	node.address = m.Address.String()
	root := filepath.Join(dir, nodeName, "root")
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(root, "usr/local/bin/fairlead"), module)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build: %w\n%s", err, out)
	}
	if _, err := m.Run(ctx, `set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qy --no-install-recommends --no-download install containerd runc nftables conntrack >&2
systemd-run -q --unit=fairlead -p Delegate=yes -p KillMode=process /usr/local/bin/fairlead server --node --advertise `+node.address); err != nil {
		return err
	}
	node.kubeconfig = filepath.Join(root, "var/lib/fairlead/server/admin.kubeconfig")
	if err := until(ctx, "the API answers", func() error {
		config, err := clientcmd.BuildConfigFromFlags("", node.kubeconfig)
		if err != nil {
			return err
		}
		config.QPS = -1
		if node.client, err = kubernetes.NewForConfig(config); err != nil {
			return err
		}
		return node.client.RESTClient().Get().AbsPath("/api/v1/nodes", nodeName).Do(ctx).Error()
	}); err != nil {
		return err
	}
	return putImages(ctx)
}

// putImages has the node import images of busybox, as fairlead_image does it.
func putImages(ctx context.Context) error {
	web := func(c *v1.Config) { c.Cmd = []string{"httpd", "-f", "-p", "8080", "-h", "/etc"} }
	for name, change := range map[string]func(*v1.Config){toolsImage: nil, helloImage: web, helloImage + "2": web} {
		img, err := containertest.Busybox(change)
		if err != nil {
			return err
		}
		archive, err := containertest.Archive(name, img)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		if err := until(ctx, "the node takes an image", func() error {
			return node.client.RESTClient().Verb(http.MethodPut).AbsPath("/api/v1/nodes", nodeName, "proxy", "images").
				SetHeader("Content-Type", "application/x-tar").Body(data).Do(ctx).Error()
		}); err != nil {
			return err
		}
	}
	return nil
}

// until tries try until it returns nil.
func until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %s: %w", readyTimeout, what, err)
		}
	}
}
