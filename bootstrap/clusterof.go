package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// ClusterOf reads what all hosts of a cluster share from its control-plane host.
func ClusterOf(ctx context.Context, control ssh.Conn) (Cluster, error) {
	s, err := ServerConfigOf(ctx, control)
	if err != nil {
		return Cluster{}, err
	}
	return Cluster{Name: s.ClusterName, PodCIDR: s.PodCIDR, ServiceCIDR: s.ServiceCIDR, Domain: s.Domain, NodePorts: s.NodePorts}, nil
}

// ServerConfigOf reads the configuration that a control-plane host was installed with.
func ServerConfigOf(ctx context.Context, control ssh.Conn) (*config.Server, error) {
	var s config.Server
	return &s, readConfig(ctx, control, config.ServerFile, &s)
}

// CertificateNamesOf are the names of s that its host was given beside those that it has by itself, in the order that it was
// given them in.
func CertificateNamesOf(ctx context.Context, control ssh.Conn, s *config.Server) ([]string, error) {
	out, err := control.Run(ctx, ssh.Command{Line: "uname -n"})
	if err != nil {
		return nil, fmt.Errorf("cannot read the name of host %s: %w", control.Host(), err)
	}
	own := []string{control.Host(), strings.ToLower(strings.TrimSpace(string(out.Stdout)))}
	return slices.DeleteFunc(slices.Clone(s.CertificateNames), func(n string) bool { return slices.Contains(own, n) }), nil
}

// AgentConfigOf reads the configuration that a node's host was installed with.
func AgentConfigOf(ctx context.Context, node ssh.Conn) (*config.Agent, error) {
	var a config.Agent
	return &a, readConfig(ctx, node, config.AgentFile, &a)
}

func readConfig(ctx context.Context, c ssh.Conn, file string, into any) error {
	data, err := c.ReadFile(ctx, file)
	if err != nil {
		return fmt.Errorf("cannot read the configuration on %s: %w", c.Host(), err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		return fmt.Errorf("cannot parse %s on %s: %w", file, c.Host(), err)
	}
	return nil
}
