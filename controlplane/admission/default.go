package admission

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
)

// Reader returns the client that plug-ins read with. It is called on each request and not before, since the
// registry that the client stands on is made with the plug-ins: assign the variable that it returns afterwards.
type Reader func() client.Client

// PortRange is a range of node ports, both ends included.
type PortRange struct{ First, Last int32 }

// DefaultNodePorts is the range that Kubernetes uses.
var DefaultNodePorts = PortRange{First: 30000, Last: 32767}

// Options of the plug-ins.
type Options struct {
	// ServiceCIDR is where cluster IPs come from; required, IPv4.
	ServiceCIDR netip.Prefix
	// NodePorts is where node ports come from; DefaultNodePorts when zero.
	NodePorts PortRange
	// Ledger is shared with the quota controller of this process; nil when there is none.
	Ledger *quota.Ledger
	// Authorizer decides who may approve and sign certificate requests; nobody but the server itself when nil.
	Authorizer Authorizer
	// Logger is slog.Default() when nil.
	Logger *slog.Logger
}

// Default returns the plug-ins of the server in the order in which they run: what fills in fields comes before
// what judges them.
func Default(c Reader, o Options) ([]Plugin, error) {
	if o.NodePorts == (PortRange{}) {
		o.NodePorts = DefaultNodePorts
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	services, err := newServiceAllocation(c, o.ServiceCIDR, o.NodePorts)
	if err != nil {
		return nil, err
	}
	security, err := newPodSecurity(c, o.Logger)
	if err != nil {
		return nil, err
	}
	return []Plugin{
		&namespaceLifecycle{client: c},
		&limitRanger{client: c},
		&serviceAccount{client: c},
		&nodeRestriction{client: c},
		security,
		&priority{client: c},
		&defaultTolerations{},
		services,
		&certificateApproval{allowed: o.Authorizer},
		&certificateSigning{allowed: o.Authorizer},
		&certificateSubject{},
		newResourceQuota(c, o.Ledger),
	}, nil
}

// silent is the half of Plugin that most plug-ins do not need.
type silent struct{}

func (silent) Admit(context.Context, *Request) error    { return nil }
func (silent) Validate(context.Context, *Request) error { return nil }
