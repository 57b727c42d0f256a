package cli

import (
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent"
)

func agentCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run pods on this host as a node of a cluster",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := config.Agent{}
			if err := config.Read(file, &cfg); err != nil {
				return err
			}
			log, err := newLogger(os.Stderr, cfg.LogLevel)
			if err != nil {
				return err
			}
			if err := nodeagent.Complete(&cfg); err != nil {
				return err
			}
			// The unit counts as started once the agent runs; whether its node is ready the cluster says.
			if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
				log.Warn("cannot notify service manager", "err", err)
			}
			g, ctx := errgroup.WithContext(c.Context())
			g.Go(func() error { return nodeagent.Run(ctx, cfg, log) })
			g.Go(func() error { tuneMemory(ctx, log, 0); return nil })
			return g.Wait()
		},
	}
	c.Flags().StringVar(&file, "config", config.AgentFile, "read the configuration from this `FILE`")
	return c
}

func cleanupCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what the agent made on this host: pods, mounts, links and rules",
		Long: "Remove what the agent made on this host: pods with their containers, mounts and cgroups, links, routes and rules.\n" +
			"Stop the service first. It can be repeated, and says what it could not remove. It does not run beside an apply or destroy that\n" +
			"changes this host.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := localAgentConfig(file)
			if err != nil {
				return err
			}
			log, err := newLogger(os.Stderr, cfg.LogLevel)
			if err != nil {
				return err
			}
			if os.Getenv(config.LockedVariable) == "" {
				release, err := lockHost(config.LockFile, "clean up")
				if err != nil {
					return err
				}
				defer release()
			}
			return nodeagent.Cleanup(c.Context(), *cfg, log)
		},
	}
	c.Flags().StringVar(&file, "config", "", "the agent's or server's configuration `FILE` (default: whichever is on this host)")
	return c
}
