package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent"
)

// ownTokenLife is for the token that a server makes for its own node; it is used at once.
const ownTokenLife = 5 * time.Minute

func serverCommand() *cobra.Command {
	var file string
	var flags config.Server
	var node bool
	c := &cobra.Command{
		Use:   "server",
		Short: "Run a control plane: etcd, API server, scheduler and controllers",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := config.Server{}
			if file != "" {
				if err := config.Read(file, &cfg); err != nil {
					return err
				}
			}
			overlay(c, &cfg, &flags, node)
			return runServer(c.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "read the configuration from this `FILE`; flags win over it")
	f.StringVar(&flags.DataDir, "data-dir", "", "keep etcd, keys and kubeconfig in this `DIR` (default "+config.DefaultServerDir+")")
	f.StringVar(&flags.Listen, "listen", "", "serve the API on `ADDRESS:PORT` (default 0.0.0.0:6443)")
	f.StringVar(&flags.Advertise, "advertise", "", "be reached at this `ADDRESS` (default: the default route's)")
	f.StringVar(&flags.LogLevel, "log-level", "", "debug, info, warn or error (default info)")
	f.BoolVar(&node, "node", false, "run pods on this host too")
	return c
}

func overlay(c *cobra.Command, cfg, flags *config.Server, node bool) {
	set := func(name string, to *string, from string) {
		if c.Flags().Changed(name) {
			*to = from
		}
	}
	set("data-dir", &cfg.DataDir, flags.DataDir)
	set("listen", &cfg.Listen, flags.Listen)
	set("advertise", &cfg.Advertise, flags.Advertise)
	set("log-level", &cfg.LogLevel, flags.LogLevel)
	if node && cfg.Node == nil {
		cfg.Node = &config.Agent{}
	}
}

func runServer(ctx context.Context, cfg config.Server) error {
	log, err := newLogger(os.Stderr, cfg.LogLevel)
	if err != nil {
		return err
	}
	s, err := controlplane.New(cfg, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { tuneMemory(ctx, log, serverHeadroom); return nil })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Ready():
		}
		// Outside of systemd there is nobody to tell, which is no error.
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			log.Warn("cannot notify service manager", "err", err)
		}
		if s.Config().Node == nil {
			return nil
		}
		agent, err := ownNode(ctx, s)
		if err != nil {
			return err
		}
		return nodeagent.Run(ctx, *agent, log)
	})
	return g.Wait()
}

// ownNode completes the configuration of the node that runs in the server's process. It joins as any other
// node does, with a token that the server makes for it.
func ownNode(ctx context.Context, s *controlplane.Server) (*config.Agent, error) {
	cfg := s.Config()
	agent := *cfg.Node
	agent.Servers = []string{s.URL()}
	if agent.NodeAddress == "" {
		agent.NodeAddress = cfg.Advertise
	}
	if agent.DataDir == "" {
		agent.DataDir = config.DefaultAgentDir
	}
	agent.PodCIDR, agent.ServiceCIDR, agent.Domain, agent.NodePorts = cfg.PodCIDR, cfg.ServiceCIDR, cfg.Domain, cfg.NodePorts
	if err := nodeagent.Complete(&agent); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	agent.CAFile = filepath.Join(agent.DataDir, "ca.crt")
	agent.TokenFile = filepath.Join(agent.DataDir, "join-token")
	if err := os.MkdirAll(agent.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create data directory of node: %w", err)
	}
	if err := atomicfile.Write(agent.CAFile, s.CA(), 0o644); err != nil {
		return nil, err
	}
	joined, err := nodeagent.Joined(&agent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if joined {
		return &agent, nil
	}
	token, err := s.NewJoinToken(ctx, agent.NodeName, ownTokenLife)
	if err != nil {
		return nil, err
	}
	return &agent, atomicfile.Write(agent.TokenFile, []byte(token), 0o600)
}
