package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/dns"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pod"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/proxy"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

// Cleanup removes what an agent made on this host: pods, mounts, links, routes and rules; not its own files. It
// does not stop at an error, can be repeated, and must not run beside an agent.
func Cleanup(ctx context.Context, cfg config.Agent, log *slog.Logger) error {
	var errs []error
	if err := removePods(ctx, cfg, log); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, volume.RemoveAll(filepath.Join(cfg.DataDir, volumeDir)))
	errs = append(errs, proxy.Cleanup(), dns.Cleanup())
	podCIDR := netip.Prefix{}
	if data, err := os.ReadFile(filepath.Join(cfg.DataDir, rangeFile)); err == nil {
		podCIDR, _ = netip.ParsePrefix(strings.TrimSpace(string(data)))
	}
	errs = append(errs, network.Cleanup(cfg.DataDir, podCIDR))
	return errors.Join(errs...)
}

func removePods(ctx context.Context, cfg config.Agent, log *slog.Logger) error {
	try, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	rt, err := container.New(try, container.Options{Socket: cfg.Containerd, Logger: log})
	if err != nil {
		return fmt.Errorf("cannot remove pods: %w", err)
	}
	defer rt.Close()
	m := pod.New(pod.Config{
		Runtime: rt, Network: noNetwork{}, Volumes: volume.New(volume.Config{Dir: filepath.Join(cfg.DataDir, volumeDir), Logger: log}), DataDir: cfg.DataDir, Logger: log,
	})
	return m.Cleanup(ctx)
}

// noNetwork has nothing to detach pods from: network.Cleanup removes all of it at once afterwards.
type noNetwork struct{}

func (noNetwork) Attach(context.Context, network.Pod, string) ([]netip.Addr, error) {
	return nil, errors.New("a cleanup attaches nothing")
}
func (noNetwork) Detach(context.Context, types.UID) error { return nil }
func (noNetwork) Attached() map[types.UID][]netip.Addr    { return nil }
