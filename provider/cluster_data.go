package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
)

func newClusterDataSource() datasource.DataSource { return &clusterDataSource{} }

// clusterDataSource is data.fairlead_cluster: a cluster that another configuration made.
type clusterDataSource struct{ data *data }

type clusterDataModel struct {
	ID            types.String `tfsdk:"id"`
	Name          types.String `tfsdk:"name"`
	Version       types.String `tfsdk:"version"`
	APIServer     types.String `tfsdk:"api_server"`
	CACertificate types.String `tfsdk:"ca_certificate"`
	PodCIDR       types.String `tfsdk:"pod_cidr"`
	ServiceCIDR   types.String `tfsdk:"service_cidr"`
	Domain        types.String `tfsdk:"domain"`
}

func (d *clusterDataSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "fairlead_cluster"
}

func (d *clusterDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	d.data, _ = req.ProviderData.(*data)
}

func (d *clusterDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A cluster that another configuration made, read from its control-plane host over SSH.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{
				MarkdownDescription: "Id of the cluster, `NAME@HOST[:PORT][#TYPE.FINGERPRINT]`; without the last part, known_hosts must know the host.",
				Required:            true,
				Validators:          []validator.String{clusterIDRule{}},
			},
			"name":           computedData("Name of the cluster."),
			"version":        computedData("Version on the control-plane host."),
			"api_server":     computedData("URL of the API server as nodes reach it."),
			"ca_certificate": computedData("The cluster's certificate authority, PEM."),
			"pod_cidr":       computedData("Range of all pods."),
			"service_cidr":   computedData("Range of services."),
			"domain":         computedData("DNS domain of services."),
		},
	}
}

func computedData(description string) schema.StringAttribute {
	return schema.StringAttribute{MarkdownDescription: description, Computed: true}
}

func (d *clusterDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m clusterDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	at := hostPaths{address: path.Root("id"), hostKey: path.Root("id")}
	id, err := parseClusterID(m.ID.ValueString())
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("id"), "Not an id of a cluster", err.Error())
		return
	}
	conn, err := d.data.hosts.get(ctx, hostRef{Address: id.Address, Port: id.Port, HostKey: id.HostKey})
	if err != nil {
		diagnose(&resp.Diagnostics, at, "Cluster can not be read", err)
		return
	}
	got, err := bootstrap.Inspect(ctx, conn)
	if err != nil {
		diagnose(&resp.Diagnostics, at, "Cluster can not be read", err)
		return
	}
	if !got.Present || got.Role != "server" || got.Cluster != id.Name {
		resp.Diagnostics.AddAttributeError(path.Root("id"), "No such cluster", "Host "+id.Address+" does not run the control plane of cluster "+id.Name+".")
		return
	}
	c, err := bootstrap.ClusterOf(ctx, conn)
	if err != nil {
		diagnose(&resp.Diagnostics, at, "Cluster can not be read", err)
		return
	}
	m.Name, m.Version, m.APIServer, m.CACertificate = types.StringValue(c.Name), types.StringValue(got.Version), types.StringValue(apiServerURL(got)), types.StringValue(string(got.CA))
	m.PodCIDR, m.ServiceCIDR, m.Domain = types.StringValue(c.PodCIDR), types.StringValue(c.ServiceCIDR), types.StringValue(c.Domain)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
