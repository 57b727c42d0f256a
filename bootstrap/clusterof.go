package bootstrap

import (
	"context"
	"fmt"

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
	data, err := control.ReadFile(ctx, config.ServerFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the cluster's configuration on %s: %w", control.Host(), err)
	}
	var s config.Server
	if err := yaml.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("cannot parse the cluster's configuration on %s: %w", control.Host(), err)
	}
	return &s, nil
}
