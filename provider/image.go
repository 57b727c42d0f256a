package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/ociimage"
)

const (
	imageTimeout = 10 * time.Minute
	// imageUploads is how many nodes are sent an image, or asked for one, at once.
	imageUploads = 4
	// imageQuestionTimeout is what a node gets to say whether it has an image: it looks into a database.
	imageQuestionTimeout = 5 * time.Second
)

func newImageResource() resource.Resource { return &imageResource{} }

// imageResource is fairlead_image: an image of the operator's disk on the cluster's nodes, without a registry.
type imageResource struct{ data *data }

type imageModel struct {
	ID        types.String   `tfsdk:"id"`
	Cluster   types.String   `tfsdk:"cluster"`
	Name      types.String   `tfsdk:"name"`
	Source    types.String   `tfsdk:"source"`
	Nodes     types.Set      `tfsdk:"nodes"`
	Digest    types.String   `tfsdk:"digest"`
	Reference types.String   `tfsdk:"reference"`
	Complete  types.Bool     `tfsdk:"complete"`
	Timeouts  timeouts.Value `tfsdk:"timeouts"`
}

func (r *imageResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "fairlead_image"
}

func (r *imageResource) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	r.data, _ = req.ProviderData.(*data)
}

func (r *imageResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A container image on the disk of whoever runs Terraform, put onto the cluster's nodes, so that no registry is needed. It is content-addressed: another content is another `reference`, which rolls out what uses it.",
		Attributes: map[string]schema.Attribute{
			"id":      computed("CLUSTER/REFERENCE."),
			"cluster": clusterAttribute(false),
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the image without tag, such as `web` or `example.com/team/web`. Names without a registry get `localhost/`.",
				Required:            true,
				Validators:          []validator.String{imageName{}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"source": schema.StringAttribute{
				MarkdownDescription: "File with an OCI archive or a `docker save` archive, or directory with an OCI layout. It must hold one image, or an index of one image for several platforms.",
				Required:            true,
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"nodes": schema.SetAttribute{
				MarkdownDescription: "Names of the nodes to put it on, such as `[for n in fairlead_node.worker : n.name]`. Default: all nodes that are ready.",
				Optional:            true,
				ElementType:         types.StringType,
			},
			"digest":    schema.StringAttribute{MarkdownDescription: "Digest of the manifest or index, known at plan when the source exists.", Computed: true},
			"reference": schema.StringAttribute{MarkdownDescription: "What a container's `image` is to say. Its tag is made of the digest.", Computed: true},
			"complete":  schema.BoolAttribute{MarkdownDescription: "Whether every node has the image. When a node lacks it, the plan shows an update.", Computed: true},
			"timeouts":  timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true}),
		},
	}
}

// ModifyPlan computes digest and reference at plan, so that workloads that use the image show their change too.
func (r *imageResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var m imageModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if r.data != nil && !m.Cluster.IsUnknown() {
		if err := r.data.kube.CheckCluster(m.Cluster.ValueString()); err != nil {
			resp.Diagnostics.AddAttributeError(path.Root("cluster"), "No cluster for the image", err.Error())
			return
		}
	}
	m.Digest, m.Reference, m.ID, m.Complete = types.StringUnknown(), types.StringUnknown(), types.StringUnknown(), types.BoolValue(true)
	if !m.Source.IsUnknown() && !m.Name.IsUnknown() {
		img, err := ociimage.Open(m.Source.ValueString())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Something else of this apply may make it.
		case err != nil:
			resp.Diagnostics.AddAttributeError(path.Root("source"), "Not an image", err.Error())
			return
		default:
			m.describe(img)
			if err := img.Close(); err != nil {
				resp.Diagnostics.AddWarning("Temporary files not removed", err.Error())
			}
			if m.Cluster.IsUnknown() {
				m.ID = types.StringUnknown()
			}
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &m)...)
}

func (m *imageModel) describe(img *ociimage.Image) {
	ref := img.Reference(m.Name.ValueString())
	m.Digest, m.Reference = types.StringValue(img.Digest()), types.StringValue(ref)
	m.ID = types.StringValue(ref)
	if c := m.Cluster.ValueString(); c != "" {
		m.ID = types.StringValue(c + "/" + ref)
	}
}

func (r *imageResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m imageModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Create, imageTimeout, &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	if err := r.put(ctx, &m); err != nil {
		resp.Diagnostics.AddError("Image not put onto the nodes", err.Error())
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (r *imageResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m imageModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel, ok := withTimeout(ctx, m.Timeouts.Update, imageTimeout, &resp.Diagnostics)
	if !ok {
		return
	}
	defer cancel()
	if err := r.put(ctx, &m); err != nil {
		resp.Diagnostics.AddError("Image not put onto the nodes", err.Error())
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// put sends the image to the nodes that lack it, through the API server.
func (r *imageResource) put(ctx context.Context, m *imageModel) error {
	img, err := ociimage.Open(m.Source.ValueString())
	if err != nil {
		return err
	}
	defer img.Close()
	m.describe(img)
	m.Complete = types.BoolValue(true)
	client, err := r.data.kube.Get(ctx, m.Cluster.ValueString())
	if err != nil {
		return err
	}
	nodes, err := imageNodes(ctx, client, m)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(imageUploads)
	for _, node := range nodes {
		g.Go(func() error { return send(ctx, client, node, img, m.Reference.ValueString()) })
	}
	return g.Wait()
}

func send(ctx context.Context, client *kube.Client, node string, img *ociimage.Image, ref string) error {
	has, err := nodeHas(ctx, client, node, ref)
	if err != nil || has {
		return err
	}
	tflog.Info(ctx, "uploading image", map[string]any{"node": node, "image": ref})
	archive := img.Archive(ref)
	defer archive.Close()
	err = client.Typed.CoreV1().RESTClient().Put().AbsPath("/api/v1/nodes", node, "proxy", "images").
		SetHeader("Content-Type", "application/x-tar").Body(archive).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("cannot put image %s onto node %s: %w", ref, node, err)
	}
	return nil
}

func nodeHas(ctx context.Context, client *kube.Client, node, ref string) (bool, error) {
	err := client.Typed.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", node, "proxy", "images").Param("name", ref).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot ask node %s for image %s: %w", node, ref, err)
	}
	return true, nil
}

// imageNodes are the nodes that the configuration names, or all that are ready.
func imageNodes(ctx context.Context, client *kube.Client, m *imageModel) ([]string, error) {
	if !m.Nodes.IsNull() {
		var names []string
		m.Nodes.ElementsAs(ctx, &names, false)
		return names, nil
	}
	names, err := readyNodes(ctx, client)
	if err == nil && len(names) == 0 {
		err = errors.New("cannot put the image anywhere: no node is ready")
	}
	return names, err
}

func readyNodes(ctx context.Context, client *kube.Client) ([]string, error) {
	list, err := client.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list nodes: %w", err)
	}
	var names []string
	for i := range list.Items {
		if nodeReady(&list.Items[i]) {
			names = append(names, list.Items[i].Name)
		}
	}
	return names, nil
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// Read looks whether every node has the image still: a node that joined later, or was made anew, lacks it.
func (r *imageResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m imageModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	client, err := r.data.kube.Get(ctx, m.Cluster.ValueString())
	if errors.Is(err, kube.ErrClusterGone) {
		resp.State.RemoveResource(ctx)
		return
	}
	if notReadYet(&resp.Diagnostics, err) {
		return
	}
	if err == nil {
		m.Complete, err = complete(ctx, client, &m)
	}
	if err != nil {
		diagnose(&resp.Diagnostics, hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}, "Image can not be read", err)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// complete asks the nodes that can be asked. One that does not answer is no reason to send it the image again, nor
// to fail a plan that may be about removing it.
func complete(ctx context.Context, client *kube.Client, m *imageModel) (types.Bool, error) {
	live, err := readyNodes(ctx, client)
	if err != nil {
		return types.BoolNull(), err
	}
	if !m.Nodes.IsNull() {
		var named []string
		m.Nodes.ElementsAs(ctx, &named, false)
		live = slices.DeleteFunc(live, func(n string) bool { return !slices.Contains(named, n) })
	}
	var lacking atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(imageUploads)
	for _, node := range live {
		g.Go(func() error {
			asked, cancel := context.WithTimeout(ctx, imageQuestionTimeout)
			defer cancel()
			has, err := nodeHas(asked, client, node, m.Reference.ValueString())
			if ctx.Err() == nil && (asked.Err() != nil || apierrors.IsServiceUnavailable(err)) {
				tflog.Warn(ctx, "node does not answer", map[string]any{"node": node, "error": fmt.Sprint(err)})
				return nil
			}
			if err == nil && !has {
				lacking.Store(true)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return types.BoolNull(), err
	}
	return types.BoolValue(!lacking.Load()), nil
}

// Delete only forgets the image: pods may still run from it, and the nodes remove images that nobody uses when
// their disks fill.
func (r *imageResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

// onSomeNode says whether a node has the image.
func onSomeNode(ctx context.Context, client *kube.Client, ref string) (bool, error) {
	nodes, err := readyNodes(ctx, client)
	if err != nil {
		return false, err
	}
	for _, node := range nodes {
		if has, err := nodeHas(ctx, client, node, ref); err != nil || has {
			return has, err
		}
	}
	return false, nil
}

// ImportState takes CLUSTER/REFERENCE; the source is what the next apply compares with.
func (r *imageResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	cluster, name, ref, err := parseImageID(req.ID)
	if err != nil {
		resp.Diagnostics.AddError("Not an id of an image", err.Error())
		return
	}
	client, err := r.data.kube.Get(ctx, cluster)
	if err == nil {
		var found bool
		if found, err = onSomeNode(ctx, client, ref); err == nil && !found {
			err = fmt.Errorf("cannot import image %s: no node that is ready has it", ref)
		}
	}
	if err != nil {
		diagnose(&resp.Diagnostics, hostPaths{address: path.Root("id"), hostKey: path.Root("id")}, "Image can not be imported", err)
		return
	}
	m := imageModel{
		ID: types.StringValue(req.ID), Cluster: types.StringNull(), Name: types.StringValue(name), Reference: types.StringValue(ref),
		Nodes: types.SetNull(types.StringType), Complete: types.BoolValue(true), Timeouts: nullTimeoutsOf("create", "update"),
	}
	if cluster != "" {
		m.Cluster = types.StringValue(cluster)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

type imageName struct{ described }

func (imageName) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		if err := ociimage.CheckName(s); err != nil {
			return err.Error()
		}
		return ""
	})
}
