package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-log/tflog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// privateKeys is where the names of written keys are kept in a resource's private state.
const privateKeys = "written_keys"

// Resource returns the constructor of a kind's resource. The type is derived when the first resource is made; a
// descriptor that does not fit its type panics then, since it is a mistake in the program.
// The provider's data must implement Source.
func Resource(desc Descriptor) func() resource.Resource {
	derived := sync.OnceValue(func() *engine {
		k, err := newEngine(&desc)
		if err != nil {
			panic(err)
		}
		return k
	})
	return func() resource.Resource { return &kubeResource{engine: derived()} }
}

// kubeResource is the resource of one kind. The framework makes one for each request.
type kubeResource struct {
	*engine
	clients *Clients // nil until the provider is configured
}

var (
	_ resource.ResourceWithConfigure      = (*kubeResource)(nil)
	_ resource.ResourceWithValidateConfig = (*kubeResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*kubeResource)(nil)
	_ resource.ResourceWithImportState    = (*kubeResource)(nil)
)

// Metadata names the resource by its kind.
func (r *kubeResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + snake(r.kind.Kind)
}

// Schema returns the derived schema.
func (r *kubeResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = r.schema
}

// Configure takes the clients that all resources share.
func (r *kubeResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	if req.ProviderData == nil {
		return // the provider is not configured yet: validation and planning do without
	}
	source, ok := req.ProviderData.(Source)
	if !ok {
		resp.Diagnostics.AddError("Cannot use the provider's data", fmt.Sprintf("%T does not implement kube.Source. This is a bug of the provider.", req.ProviderData))
		return
	}
	r.clients = source.KubeClients()
}

// ValidateConfig checks offline what the API would refuse.
func (r *kubeResource) ValidateConfig(_ context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	resp.Diagnostics.Append(r.desc.validate(r.root, req.Config.Raw)...)
}

// ModifyPlan fills in what can be known before an apply. It dials nothing.
func (r *kubeResource) ModifyPlan(_ context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return // a deletion
	}
	p := &planner{desc: r.desc, config: ViewOf(req.Config.Raw), prior: ViewOf(req.State.Raw)}
	if r.clients != nil {
		p.same = r.clients.SameCluster
		cluster := p.config.At(attrCluster)
		id, _ := cluster.Text()
		if err := r.clients.CheckCluster(id); err != nil && !cluster.Unknown() {
			resp.Diagnostics.AddAttributeError(path.Root(attrCluster), "No cluster for "+r.kindName(), upperFirst(err.Error())+".")
			return
		}
	}
	resp.Plan.Raw = p.complete(r.root, req.Plan.Raw)
	resp.RequiresReplace = append(resp.RequiresReplace, p.replace...)
}

// ImportState notes which object is meant; the Read that follows finds the rest.
func (r *kubeResource) ImportState(_ context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id, err := parseIdentity(req.ID, r.desc.Namespaced)
	if err != nil {
		resp.Diagnostics.AddError("Cannot import "+r.kindName(), upperFirst(err.Error())+".")
		return
	}
	state := withMember(r.empty(), attrID, tftypes.NewValue(tftypes.String, req.ID))
	if id.cluster != "" {
		state = withMember(state, attrCluster, tftypes.NewValue(tftypes.String, id.cluster))
	}
	resp.State.Raw = r.join(state, r.withIdentity(r.part(state), id))
}

// Create applies a new object and waits for it. What was applied is in the state even when the wait fails.
func (r *kubeResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout(req.Plan.Raw, "create"))
	defer cancel()
	c, ok := r.begin(ctx, "create", req.Plan.Raw, &resp.Diagnostics)
	if !ok {
		return
	}
	if err := r.expectAbsent(ctx, c.client, c.id); err != nil {
		r.report(&resp.Diagnostics, c.verb, c.id, req.Plan.Raw, err)
		return
	}
	live, written := r.send(ctx, c, req.Config.Raw, req.Plan.Raw, tftypes.Value{}, &resp.Diagnostics)
	if live == nil {
		return
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, privateKeys, written)...)
	resp.State.Raw = r.settle(ctx, c, req.Plan.Raw, live, &resp.Diagnostics)
}

// Update applies a changed object and waits for it.
func (r *kubeResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout(req.Plan.Raw, "update"))
	defer cancel()
	c, ok := r.begin(ctx, "update", req.Plan.Raw, &resp.Diagnostics)
	if !ok {
		return
	}
	live, written := r.send(ctx, c, req.Config.Raw, req.Plan.Raw, req.State.Raw, &resp.Diagnostics)
	if live == nil {
		return
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, privateKeys, written)...)
	resp.State.Raw = r.settle(ctx, c, req.Plan.Raw, live, &resp.Diagnostics)
}

// readTimeout is for connecting to a cluster, over SSH perhaps, and one request with its retries.
const readTimeout = 2 * time.Minute

// Read lays the live values over the state. Only an object that is known not to exist leaves the state.
func (r *kubeResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c, ok := r.begin(ctx, "read", req.State.Raw, &resp.Diagnostics)
	if !ok {
		if c.gone {
			resp.State.RemoveResource(ctx)
		}
		return
	}
	live, err := r.objects(c.client, c.id).Get(ctx, c.id.name, metav1.GetOptions{})
	if isGone(err) {
		tflog.Info(ctx, "the object is gone", map[string]any{"object": c.id.String()})
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		r.report(&resp.Diagnostics, c.verb, c.id, req.State.Raw, err)
		return
	}
	written, diags := req.Private.GetKey(ctx, privateKeys)
	resp.Diagnostics.Append(diags...)
	state, err := r.state(req.State.Raw, c.id, live, written)
	if err != nil {
		r.report(&resp.Diagnostics, c.verb, c.id, req.State.Raw, err)
		return
	}
	resp.State.Raw = state
}

// state returns the state of a live object, given the one before.
func (r *kubeResource) state(before tftypes.Value, id identity, live *unstructured.Unstructured, written []byte) (tftypes.Value, error) {
	if ViewOf(before).At("metadata.uid").Null() { // only an import leaves it out
		state, err := r.imported(before, id, live)
		if err != nil {
			return before, err
		}
		return r.refreshVersions(state, live, written)
	}
	part, err := r.root.refresh(r.part(before), live.Object, false)
	if err != nil {
		return before, fmt.Errorf("cannot read %s %s: %w", r.kindName(), id.local(), err)
	}
	return r.refreshVersions(r.join(before, part), live, written)
}

// Delete deletes the object and waits until it is gone.
func (r *kubeResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout(req.State.Raw, "delete"))
	defer cancel()
	c, ok := r.begin(ctx, "delete", req.State.Raw, &resp.Diagnostics)
	if !ok {
		return
	}
	uid, _ := ViewOf(req.State.Raw).At("metadata.uid").Text()
	err := r.delete(ctx, c.client, c.id, types.UID(uid))
	var rest *abandoned
	if errors.As(err, &rest) {
		resp.Diagnostics.AddWarning(fmt.Sprintf("%s %s is deleted, and not all of it has ended", upperFirst(r.kindName()), c.id.local()),
			"The deletion was accepted, and there is nothing more that a destroy can do. "+rest.left+"\n\nUntil then, there can not be another of this name.")
		return
	}
	if err != nil {
		r.report(&resp.Diagnostics, c.verb, c.id, req.State.Raw, err)
	}
}

// call is one operation on one object.
type call struct {
	verb   string
	id     identity
	client *Client
	gone   bool // the cluster does not exist any more
}

// What a read says that leaves the state as it is, the same of all resources, so that Terraform shows it once.
const (
	NotReadYet  = "Not read before the apply"
	KeptAsItWas = "The state is what it was; changes that others made show in the next plan."
)

// begin finds the object's cluster and connects to it. It returns false when there is nothing to go on with: there
// was an error, which is reported, or the cluster is gone, which a read and a delete take for an answer.
func (r *kubeResource) begin(ctx context.Context, verb string, value tftypes.Value, diags *diag.Diagnostics) (call, bool) {
	c := call{verb: verb}
	var err error
	if c.id, err = identityOf(ViewOf(value)); err != nil {
		diags.AddError(fmt.Sprintf("Cannot %s %s", verb, r.kindName()), upperFirst(err.Error())+".")
		return c, false
	}
	if r.clients == nil {
		diags.AddError(fmt.Sprintf("Cannot %s %s %s", verb, r.kindName(), c.id.local()),
			"The provider's configuration is not known yet.")
		return c, false
	}
	c.client, err = r.clients.Get(ctx, c.id.cluster)
	if errors.Is(err, ErrClusterGone) && (verb == "read" || verb == "delete") {
		c.gone = true
		return c, false
	}
	if errors.Is(err, ErrNotKnownYet) && verb == "read" {
		diags.AddWarning(NotReadYet, upperFirst(err.Error())+".\n\n"+KeptAsItWas)
		return c, false
	}
	if err != nil {
		addError(diags, path.Root(attrCluster), fmt.Sprintf("Cannot %s %s %s", verb, r.kindName(), c.id.local()), upperFirst(err.Error())+".")
		return c, false
	}
	return c, true
}

// send applies what is configured and returns the object as the server has it now, with the names of the keys that were
// written. It returns nil when that failed, which is reported.
func (r *kubeResource) send(ctx context.Context, c call, config, plan, prior tftypes.Value, diags *diag.Diagnostics) (*unstructured.Unstructured, []byte) {
	object, err := r.object(c.id, config, plan)
	if err != nil {
		r.report(diags, c.verb, c.id, plan, err)
		return nil, nil
	}
	written, err := r.writtenKeys(object)
	if err != nil {
		r.report(diags, c.verb, c.id, plan, err)
		return nil, nil
	}
	again := !absent(prior) && r.versionsChanged(ViewOf(plan), ViewOf(prior))
	live, err := r.apply(ctx, c.client, c.id, object, prior, again, ViewOf(plan).At(attrForce).Bool())
	if err != nil {
		r.report(diags, c.verb, c.id, plan, err)
		return nil, nil
	}
	return live, written
}

// settle waits for an applied object and returns its state. When the wait fails the state says that there was none, so
// that the next plan shows a change and the next apply goes on waiting.
func (r *kubeResource) settle(ctx context.Context, c call, plan tftypes.Value, live *unstructured.Unstructured, diags *diag.Diagnostics) tftypes.Value {
	state, err := r.afterApply(plan, c.id, live)
	if err != nil {
		r.report(diags, c.verb, c.id, plan, err)
		return withoutUnknown(plan)
	}
	if r.desc.Wait == nil || !ViewOf(plan).At(attrWait).Bool() {
		return state
	}
	if err := r.desc.Wait(ctx, c.client, live); err != nil {
		r.report(diags, c.verb, c.id, plan, goesOn(c.verb, err))
		return withMember(state, attrWait, tftypes.NewValue(tftypes.Bool, false))
	}
	return state
}

// goesOn adds to a failure of a wait what the next apply does about it. Terraform taints what a create failed for.
func goesOn(verb string, err error) error {
	var failure *Failure
	if !errors.As(err, &failure) {
		return err
	}
	next := "The object stays as it is, and the next apply waits for it again."
	if verb == "create" {
		next = "The object stays as it is. Terraform marks it as tainted and replaces it with the next apply; " +
			"after terraform untaint it is kept, and the next apply waits for it again."
	}
	return &Failure{Summary: failure.Summary, Detail: failure.Detail + "\n\n" + next}
}
