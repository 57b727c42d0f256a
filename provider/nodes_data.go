package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newNodesDataSource() datasource.DataSource { return &nodesDataSource{} }

// nodesDataSource is data.fairlead_nodes: the nodes of a cluster.
type nodesDataSource struct{ data *data }

type nodesDataModel struct {
	Cluster       types.String    `tfsdk:"cluster"`
	LabelSelector types.String    `tfsdk:"label_selector"`
	Nodes         []nodeDataModel `tfsdk:"nodes"`
}

type nodeDataModel struct {
	Name          types.String `tfsdk:"name"`
	Ready         types.Bool   `tfsdk:"ready"`
	Unschedulable types.Bool   `tfsdk:"unschedulable"`
	Address       types.String `tfsdk:"address"`
	PodCIDR       types.String `tfsdk:"pod_cidr"`
	Version       types.String `tfsdk:"version"`
	CPU           types.String `tfsdk:"cpu"`
	Memory        types.String `tfsdk:"memory"`
	Labels        types.Map    `tfsdk:"labels"`
}

func (d *nodesDataSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "fairlead_nodes"
}

func (d *nodesDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	d.data, _ = req.ProviderData.(*data)
}

func (d *nodesDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The nodes of a cluster as they are now.",
		Attributes: map[string]schema.Attribute{
			"cluster":        clusterDataAttribute(),
			"label_selector": schema.StringAttribute{MarkdownDescription: "Only nodes whose labels match, such as `zone=a`.", Optional: true, Validators: []validator.String{labelSelector{}}},
			"nodes": schema.ListNestedAttribute{
				MarkdownDescription: "The nodes, by name.",
				Computed:            true,
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"name":          computedData("Name."),
					"ready":         schema.BoolAttribute{MarkdownDescription: "Whether it can run pods.", Computed: true},
					"unschedulable": schema.BoolAttribute{MarkdownDescription: "Whether it is cordoned.", Computed: true},
					"address":       computedData("Address in the cluster."),
					"pod_cidr":      computedData("Range of its pods."),
					"version":       computedData("Version that it reports."),
					"cpu":           computedData("Processors that pods can have."),
					"memory":        computedData("Memory that pods can have."),
					"labels":        schema.MapAttribute{MarkdownDescription: "Labels.", Computed: true, ElementType: types.StringType},
				}},
			},
		},
	}
}

func clusterDataAttribute() schema.StringAttribute {
	return schema.StringAttribute{MarkdownDescription: "Id of the `fairlead_cluster`. Default: the cluster of the provider's kubeconfig.", Optional: true, Validators: []validator.String{clusterIDRule{}}}
}

func (d *nodesDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m nodesDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	client, err := d.data.kube.Get(ctx, m.Cluster.ValueString())
	if err != nil {
		diagnose(&resp.Diagnostics, hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}, "Nodes can not be read", err)
		return
	}
	list, err := client.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: m.LabelSelector.ValueString()})
	if err != nil {
		resp.Diagnostics.AddError("Nodes can not be read", err.Error())
		return
	}
	m.Nodes = make([]nodeDataModel, 0, len(list.Items))
	for i := range list.Items {
		n := &list.Items[i]
		out := nodeDataModel{
			Name: types.StringValue(n.Name), Ready: types.BoolValue(nodeReady(n)), Unschedulable: types.BoolValue(n.Spec.Unschedulable),
			Address: types.StringNull(), PodCIDR: types.StringValue(n.Spec.PodCIDR), Version: types.StringValue(n.Status.NodeInfo.KubeletVersion),
			CPU: types.StringValue(n.Status.Allocatable.Cpu().String()), Memory: types.StringValue(n.Status.Allocatable.Memory().String()),
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				out.Address = types.StringValue(a.Address)
			}
		}
		labels, diags := types.MapValueFrom(ctx, types.StringType, n.Labels)
		resp.Diagnostics.Append(diags...)
		out.Labels = labels
		m.Nodes = append(m.Nodes, out)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
