// Package single makes a cluster of one real machine, for tests of what clients do with pods that run.
package single

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
)

// ToolsImage is the name by which tests put an image of busybox without changes: a shell that ends at once.
const ToolsImage = "localhost/tools:1"

const (
	module = "github.com/fairlead-io/terraform-provider-fairlead"

	// SetupTimeout covers a build without cache, the making of the machines' tree, and the installation of containerd.
	SetupTimeout = 15 * time.Minute
	// readyTimeout bounds how long the node may take until pods can be made on it.
	readyTimeout = time.Minute
	pollEvery    = 100 * time.Millisecond
)

// Cluster is a server and its node, on one machine. Its methods may be called at once, but for Close.
type Cluster struct {
	Client     *kubernetes.Clientset
	Config     *rest.Config // an administrator's, without a limit of requests
	Kubeconfig string       // path
	Node       string       // name
	Address    string

	fleet *machine.Fleet
}

// Start makes the machine. Names of what it takes on this host begin with name, which has at most nine characters.
func Start(ctx context.Context, name string, network netip.Prefix) (c *Cluster, err error) {
	fleet, err := machine.NewFleet(ctx, name, network)
	if err != nil {
		return nil, err
	}
	c = &Cluster{Node: name + "-1", fleet: fleet}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	m, err := fleet.Start(ctx, c.Node)
	if err != nil {
		return nil, err
	}
	c.Address = m.Address.String()
	root := filepath.Join(fleet.Dir, c.Node, "root")
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(root, "usr/local/bin/fairlead"), module)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build: %w\n%s", err, out)
	}
	if _, err := m.Run(ctx, `set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qy --no-install-recommends --no-download install containerd runc nftables conntrack >&2
# A small disk of the agent's own, which pods can fill.
mkdir -p /var/lib/fairlead/agent
mount -t tmpfs -o size=256m,mode=700 tmpfs /var/lib/fairlead/agent
systemd-run -q --unit=fairlead -p Delegate=yes -p KillMode=process /usr/local/bin/fairlead server --node --advertise `+c.Address); err != nil {
		return nil, err
	}
	c.Kubeconfig = filepath.Join(root, "var/lib/fairlead/server/admin.kubeconfig")
	return c, Until(ctx, "the API answers", func() error { return c.connect(ctx) })
}

func (c *Cluster) connect(ctx context.Context) (err error) {
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.Config.QPS = -1
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	return c.Client.RESTClient().Get().AbsPath("/api/v1/nodes", c.Node).Do(ctx).Error()
}

// Put has the node import an image of busybox, changed by change, as fairlead_image does it.
func (c *Cluster) Put(ctx context.Context, name string, change func(*v1.Config)) error {
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
	return Until(ctx, "the node takes an image", func() error {
		return c.Client.RESTClient().Verb(http.MethodPut).AbsPath("/api/v1/nodes", c.Node, "proxy", "images").
			SetHeader("Content-Type", "application/x-tar").Body(data).Do(ctx).Error()
	})
}

// Close ends the machine and removes all of it.
func (c *Cluster) Close() error { return c.fleet.Close() }

// Until tries try until it returns nil, for a minute.
func Until(ctx context.Context, what string, try func() error) error {
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
