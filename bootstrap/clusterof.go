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
	data, err := control.ReadFile(ctx, config.ServerFile)
	if err != nil {
		return Cluster{}, fmt.Errorf("cannot read the cluster's configuration on %s: %w", control.Host(), err)
	}
	var s config.Server
	if err := yaml.Unmarshal(data, &s); err != nil {
		return Cluster{}, fmt.Errorf("cannot parse the cluster's configuration on %s: %w", control.Host(), err)
	}
	return Cluster{Name: s.ClusterName, PodCIDR: s.PodCIDR, ServiceCIDR: s.ServiceCIDR, Domain: s.Domain, NodePorts: s.NodePorts}, nil
}
