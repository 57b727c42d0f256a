package bootstrap

import (
	"context"
	"fmt"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// RemovePods removes what a node had on a control-plane host that runs no pods any more: pods, mounts, links and
// rules, and the node's identity and data. Its Node object is gone already, and the server runs without an agent.
func RemovePods(ctx context.Context, c ssh.Conn, p Progress) error {
	return Locked(ctx, c, "remove pods", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
		defer cancel()
		p(c.Host(), "removing pods")
		line := lockedCleanup + " --config " + config.ServerFile + " && rm -rf " + config.DefaultAgentDir
		if _, err := c.Run(ctx, ssh.Command{Line: line, Sudo: true}); err != nil {
			return fmt.Errorf("cannot remove pods of %s: %w", c.Host(), err)
		}
		return nil
	})
}
