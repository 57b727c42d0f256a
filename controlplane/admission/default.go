package admission

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
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
	// Webhooks calls webhooks; one of its own when nil.
	Webhooks *webhook.Caller
	// Kinds returns the kinds that are served, in which webhooks and policies find other versions and parameters. Like
	// a Reader it is called on each request and not before; kind.Builtin when nil.
	Kinds func() *kind.Table
	// Ledger is shared with the quota controller of this process; nil when there is none.
	Ledger *quota.Ledger
	// Authorizer decides who may approve and sign certificate requests, and answers expressions that ask who may do
	// what; nobody but the server itself may anything when it is nil.
	Authorizer Authorizer
	// Logger is slog.Default() when nil.
	Logger *slog.Logger
}

// Default returns the plug-ins of the server in the order in which they run, which is kube-apiserver's: what fills in
// fields comes before what judges them, and quotas come last.
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
	security, err := newPodSecurity(c)
	if err != nil {
		return nil, err
	}
	if o.Webhooks == nil {
		o.Webhooks = webhook.New(c)
	}
	if o.Kinds == nil {
		o.Kinds = kind.Builtin
	}
	plugins := []Plugin{
		&namespaceLifecycle{client: c},
		&limitRanger{client: c},
		&serviceAccount{client: c},
		&nodeRestriction{client: c},
		nodeTaint{},
		security,
		&priority{client: c},
		&defaultTolerations{},
		newDefaultStorageClass(c),
		&claimResize{client: c},
		&runtimeClass{client: c},
		&certificateApproval{allowed: o.Authorizer},
		&certificateSigning{allowed: o.Authorizer},
		&certificateSubject{},
		newDefaultIngressClass(c),
		&podTopology{client: c},
		newDeclaredFeatures(c),
		&podResize{client: c},
	}
	plugins = append(plugins, &mutatingWebhooks{webhooks: newWebhooks(c, o, mutatingHooks), before: slices.Clone(plugins)})
	return append(plugins,
		newValidatingPolicies(c, o),
		&validatingWebhooks{webhooks: newWebhooks(c, o, validatingHooks)},
		services, // after what webhooks wrote, as Kubernetes' allocators
		newResourceQuota(c, o.Ledger),
	), nil
}

// silent is the half of Plugin that most plug-ins do not need.
type silent struct{}

func (silent) Admit(context.Context, *Request) error    { return nil }
func (silent) Validate(context.Context, *Request) error { return nil }
