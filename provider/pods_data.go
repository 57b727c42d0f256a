package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newPodsDataSource() datasource.DataSource { return &podsDataSource{} }

// podsDataSource is data.fairlead_pods: pods as they are now.
type podsDataSource struct{ data *data }

type podsDataModel struct {
	Cluster       types.String   `tfsdk:"cluster"`
	Namespace     types.String   `tfsdk:"namespace"`
	LabelSelector types.String   `tfsdk:"label_selector"`
	FieldSelector types.String   `tfsdk:"field_selector"`
	Pods          []podDataModel `tfsdk:"pods"`
}

type podDataModel struct {
	Namespace types.String `tfsdk:"namespace"`
	Name      types.String `tfsdk:"name"`
	Phase     types.String `tfsdk:"phase"`
	Ready     types.Bool   `tfsdk:"ready"`
	Reason    types.String `tfsdk:"reason"`
	Restarts  types.Int64  `tfsdk:"restarts"`
	Node      types.String `tfsdk:"node"`
	Address   types.String `tfsdk:"address"`
	Labels    types.Map    `tfsdk:"labels"`
}

func (d *podsDataSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "fairlead_pods"
}

func (d *podsDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	d.data, _ = req.ProviderData.(*data)
}

func (d *podsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Pods as they are now.",
		Attributes: map[string]schema.Attribute{
			"cluster":        clusterDataAttribute(),
			"namespace":      schema.StringAttribute{MarkdownDescription: "Namespace. Default: all.", Optional: true, Validators: []validator.String{dnsLabel{}}},
			"label_selector": schema.StringAttribute{MarkdownDescription: "Only pods whose labels match, such as `app=web`.", Optional: true, Validators: []validator.String{labelSelector{}}},
			"field_selector": schema.StringAttribute{MarkdownDescription: "Only pods whose fields match, such as `spec.nodeName=a`.", Optional: true, Validators: []validator.String{fieldSelector{}}},
			"pods": schema.ListNestedAttribute{
				MarkdownDescription: "The pods, by namespace and name.",
				Computed:            true,
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"namespace": computedData("Namespace."),
					"name":      computedData("Name."),
					"phase":     computedData("Pending, Running, Succeeded, Failed or Unknown."),
					"ready":     schema.BoolAttribute{MarkdownDescription: "Whether it answers for services.", Computed: true},
					"reason":    computedData("Why a container, an init container too, waits or ended, such as CrashLoopBackOff, or the pod is on no node, such as Unschedulable; empty when all is well."),
					"restarts":  schema.Int64Attribute{MarkdownDescription: "Restarts of all containers, init containers too.", Computed: true},
					"node":      computedData("Node that it runs on."),
					"address":   computedData("Address."),
					"labels":    schema.MapAttribute{MarkdownDescription: "Labels.", Computed: true, ElementType: types.StringType},
				}},
			},
		},
	}
}

func (d *podsDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m podsDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	client, err := d.data.kube.Get(ctx, m.Cluster.ValueString())
	if err != nil {
		diagnose(&resp.Diagnostics, hostPaths{address: path.Root("cluster"), hostKey: path.Root("cluster")}, "Pods can not be read", err)
		return
	}
	list, err := client.Typed.CoreV1().Pods(m.Namespace.ValueString()).List(ctx, metav1.ListOptions{
		LabelSelector: m.LabelSelector.ValueString(), FieldSelector: m.FieldSelector.ValueString(),
	})
	if err != nil {
		resp.Diagnostics.AddError("Pods can not be read", err.Error())
		return
	}
	m.Pods = make([]podDataModel, 0, len(list.Items))
	for i := range list.Items {
		out := podData(&list.Items[i])
		labels, diags := types.MapValueFrom(ctx, types.StringType, list.Items[i].Labels)
		resp.Diagnostics.Append(diags...)
		out.Labels = labels
		m.Pods = append(m.Pods, out)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func podData(p *corev1.Pod) podDataModel {
	out := podDataModel{
		Namespace: types.StringValue(p.Namespace), Name: types.StringValue(p.Name), Phase: types.StringValue(string(p.Status.Phase)),
		Ready: types.BoolValue(false), Node: types.StringValue(p.Spec.NodeName), Address: types.StringValue(p.Status.PodIP),
	}
	reason, restarts := p.Status.Reason, int64(0)
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		restarts += int64(c.RestartCount)
		switch {
		case reason != "":
		case c.State.Waiting != nil:
			reason = c.State.Waiting.Reason
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			reason = fmt.Sprintf("%s (exit code %d)", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
		}
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady:
			out.Ready = types.BoolValue(c.Status == corev1.ConditionTrue)
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && reason == "":
			reason = c.Reason
		}
	}
	out.Reason, out.Restarts = types.StringValue(reason), types.Int64Value(restarts)
	return out
}
