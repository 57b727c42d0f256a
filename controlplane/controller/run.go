// Package controller starts the controllers of the cluster. Each has a package of its own that holds a pure
// function from what is observed to the writes that are needed; package loop turns them.
package controller

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/account"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/admissionpolicy"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/certificate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/cleaner"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/deployment"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/disruption"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/endpoints"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/event"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/garbage"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/namespace"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/node"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/podgc"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/quota"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/replicaset"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/system"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	counting "github.com/fairlead-io/terraform-provider-fairlead/controlplane/quota"
)

// Config of Run. All but Kinds, Schemas, Ledger, Signer, Authorizer, Recorder and Logger are required.
type Config struct {
	Client client.Client
	// Kinds is kind.Builtin() when nil.
	Kinds *kind.Table
	// Schemas are those that the expressions of policies are checked against; nil: none.
	Schemas expression.Schemas
	// ClusterCIDR is the range of pod addresses, of which each node gets a /24; ServiceCIDR that of cluster IPs.
	ClusterCIDR netip.Prefix
	ServiceCIDR netip.Prefix
	// APIServerAddresses are where nodes reach the API servers; they answer for the service "kubernetes".
	APIServerAddresses []netip.AddrPort
	// CA is the PEM bundle that pods trust the API by.
	CA []byte
	// Ledger is shared with admission of this process, so that what is being written is not taken for unused.
	Ledger *counting.Ledger
	// Signer issues the certificates that are asked for; nil leaves requests to others.
	Signer certificate.Signer
	// Authorizer says whose requests for certificates are approved without a person; nil: nobody's.
	Authorizer admission.Authorizer
	// Recorder writes events; Run makes and runs one of its own when it is nil.
	Recorder *event.Recorder
	// Logger is slog.Default() when nil.
	Logger *slog.Logger
}

// Run runs all controllers until ctx ends, and returns nil then, with nothing of them left running. It is to be
// called on the leader only. An error says that a watch broke, and that Run may be called again.
func Run(ctx context.Context, c Config) error {
	if !c.ClusterCIDR.IsValid() || !c.ServiceCIDR.IsValid() {
		return fmt.Errorf("cannot run controllers: the ranges of pods (%v) and services (%v) must be set", c.ClusterCIDR, c.ServiceCIDR)
	}
	if c.Kinds == nil {
		c.Kinds = kind.Builtin()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.APIServerAddresses = reachable(c.APIServerAddresses, c.Logger)
	g, ctx := errgroup.WithContext(ctx)
	if c.Recorder == nil {
		c.Recorder = event.New(c.Client, "controller-manager", c.Logger)
		g.Go(func() error { return c.Recorder.Run(ctx) })
	}
	g.Go(func() error { return loop.Run(ctx, c.Client, c.Logger, controllers(c)...) })
	return g.Wait()
}

// reachable leaves out addresses that mean another host to each pod, which endpoints may not have.
func reachable(addresses []netip.AddrPort, log *slog.Logger) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range addresses {
		if ip := a.Addr(); !ip.Is4() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
			log.Warn("pods can not reach the API server at this address: advertise another", "address", a.String())
			continue
		}
		out = append(out, a)
	}
	return out
}

func controllers(c Config) []loop.Controller {
	list := []loop.Controller{
		system.New(c.Client, c.ServiceCIDR, c.APIServerAddresses),
		account.New(c.Client, c.CA),
		node.Ranges(c.Client, c.Recorder, c.ClusterCIDR),
		node.Health(c.Client, c.Recorder),
		node.Evictions(c.Client, c.Recorder),
		deployment.New(c.Client, c.Recorder),
		replicaset.New(c.Client, c.Recorder),
		replicaset.Replication(c.Client, c.Recorder),
		endpoints.New(c.Client, c.Recorder),
		endpoints.Mirror(c.Client),
		disruption.New(c.Client, c.Recorder),
		garbage.New(c.Client, c.Kinds),
		namespace.New(c.Client, c.Kinds),
		podgc.New(c.Client),
		quota.New(c.Client, c.Kinds, c.Ledger),
		admissionpolicy.New(c.Client, c.Kinds, c.Schemas, c.Logger),
		cleaner.Tokens(c.Client),
		cleaner.Leases(c.Client),
		certificate.Cleaner(c.Client),
	}
	if c.Authorizer != nil {
		list = append(list, certificate.Approver(c.Client, c.Authorizer))
	}
	if c.Signer != nil {
		list = append(list, certificate.Issuer(c.Client, c.Signer))
	}
	return list
}
