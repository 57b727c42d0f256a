package provider

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// hostClaims knows which resources of a run have which host, so that no two have the same. It is safe for concurrent
// use; its zero value is empty.
type hostClaims struct {
	mu sync.Mutex
	// planned is the resource that a host is planned for, by a mark of its own: Terraform does not tell providers
	// what resources are called.
	planned map[string]claim
	// working has a place for whoever works on the host.
	working map[string]chan struct{} // capacity 1
	made    map[string]bool          // hosts that this run has installed
}

type claim struct{ mark, kind string }

// key is the host that a reference means, however it is written.
func (h *hosts) key(ref hostRef) string {
	address := strings.ToLower(strings.TrimSuffix(ref.Address, "."))
	if address == localAddress {
		return address
	}
	if a, err := netip.ParseAddr(address); err == nil {
		address = a.Unmap().String()
	}
	port := ref.Port
	if port == 0 {
		port = h.base.Port
	}
	if port == 0 {
		port = ssh.DefaultPort
	}
	return net.JoinHostPort(address, strconv.Itoa(port))
}

// markOf returns the mark of the resource that is planned, and makes one for a new resource, and for one that was imported.
func markOf(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) string {
	if mark := getPrivate[string](ctx, req.Private, markKey); mark != "" {
		return mark
	}
	mark := rand.Text()
	setPrivate(ctx, resp.Private, markKey, mark, &resp.Diagnostics)
	if !req.State.Raw.IsNull() {
		setPrivate(ctx, resp.Private, adoptKey, true, &resp.Diagnostics)
	}
	return mark
}

// planHost claims the host for the resource, and says on the address when another has it.
func (d *data) planHost(ctx context.Context, kind string, ref hostRef, at path.Path, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	mark := markOf(ctx, req, resp)
	key := d.hosts.key(ref)
	c := &d.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.planned == nil {
		c.planned = map[string]claim{}
	}
	if other, taken := c.planned[key]; taken && other.mark != mark {
		resp.Diagnostics.AddAttributeError(at, "Two resources with one host", sameHost(key, "a "+other.kind))
		return
	}
	c.planned[key] = claim{mark, kind}
	if d.run == nil {
		return
	}
	// Behind another bastion, the same address is another host.
	shared := key
	if b := d.hosts.base.Bastion; b != nil {
		shared += " by " + b.Address
	}
	switch other, err := d.run.claim(shared, claim{mark, kind}); {
	case err != nil: // the installation looks at what is on the host, too
		tflog.Warn(ctx, "other provider blocks can not be told of a host", map[string]any{"host": key, "error": err.Error()})
	case other != nil:
		resp.Diagnostics.AddAttributeError(at, "Two resources with one host", sameHost(key, "a "+other.Kind+" of another provider block"))
	}
}

func sameHost(key, other string) string {
	return "Host " + key + " is that of " + other + " in this configuration too, and a host can be in one resource only: it is one node. " +
		"A control-plane host runs pods by itself, unless pods = false."
}

// inCluster refuses a node on the control-plane host of its own cluster, which the cluster's id names.
func (d *data) inCluster(cluster string, ref hostRef, at path.Path, diags *diag.Diagnostics) {
	id, problem := readClusterID(cluster)
	if problem != "" {
		return
	}
	if key := d.hosts.key(ref); key == d.hosts.key(hostRef{Address: id.Address, Port: id.Port}) {
		diags.AddAttributeError(at, "Two resources with one host", sameHost(key, "the control plane of cluster "+id.Name))
	}
}

// locked runs do while no other run, and no other resource of this one, can change the host.
func (d *data) locked(ctx context.Context, ref hostRef, conn ssh.Conn, operation string, do func(context.Context) error) error {
	key := d.hosts.key(ref)
	d.claims.mu.Lock()
	if d.claims.working == nil {
		d.claims.working = map[string]chan struct{}{}
	}
	place := d.claims.working[key]
	if place == nil {
		place = make(chan struct{}, 1)
		d.claims.working[key] = place
	}
	d.claims.mu.Unlock()
	select {
	case place <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-place }()
	return bootstrap.Locked(ctx, conn, operation, do)
}

// unlockable is why a host can not be locked for its installation. One where not even that works, such as without root,
// is checked without the lock, so that all that is wrong with it is said at once.
func unlockable(ctx context.Context, err error, cluster bootstrap.Cluster, bin bootstrap.Binary, target bootstrap.Target) error {
	var locked *bootstrap.LockedError
	if errors.As(err, &locked) || unreachable(err) || ctx.Err() != nil {
		return err
	}
	if failed := bootstrap.Preflight(ctx, cluster, bin, []bootstrap.Target{target}); failed != nil {
		return failed
	}
	return err
}

// took notes that this run has installed the host.
func (d *data) took(ref hostRef) {
	d.claims.mu.Lock()
	defer d.claims.mu.Unlock()
	if d.claims.made == nil {
		d.claims.made = map[string]bool{}
	}
	d.claims.made[d.hosts.key(ref)] = true
}

// isTaken says whether this run has installed the host, as for a resource that has taken the place of another under a
// new name: what is on the host is that resource's then.
func (d *data) isTaken(ref hostRef) bool {
	d.claims.mu.Lock()
	defer d.claims.mu.Unlock()
	return d.claims.made[d.hosts.key(ref)]
}
