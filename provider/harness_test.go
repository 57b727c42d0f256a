package provider

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	testresource "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// workloadProvider is a provider of the workload resources alone, whose clusters all are one API server.
type workloadProvider struct {
	clients *kube.Clients
}

// switched is a Connector that knows one server at a time, for every cluster; without one, the cluster is gone.
type switched struct {
	mu     sync.Mutex
	config *rest.Config
}

func (s *switched) Connect(context.Context, string) (*rest.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config == nil {
		return nil, kube.ErrClusterGone
	}
	return s.config, nil
}

func (s *switched) set(config *rest.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config
}

func (p *workloadProvider) KubeClients() *kube.Clients { return p.clients }

func (p *workloadProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "fairlead"
}

func (p *workloadProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{}
}

func (p *workloadProvider) Configure(_ context.Context, _ provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	resp.ResourceData = p
}

func (p *workloadProvider) Resources(context.Context) []func() resource.Resource { return workloads() }

func (p *workloadProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }

// runSteps runs Terraform itself through the steps of a test, against the server of config.
func runSteps(t *testing.T, config *rest.Config, steps ...testresource.TestStep) {
	t.Helper()
	runStepsWith(t, &switched{config: config}, steps...)
}

// runStepsWith is runSteps against the server that target has at the time. Each run of the provider connects anew.
func runStepsWith(t *testing.T, target kube.Connector, steps ...testresource.TestStep) {
	t.Helper()
	runStepsOn(t, func() provider.Provider { return &workloadProvider{clients: kube.NewClients(target)} }, steps...)
}

// runStepsOn runs Terraform itself through the steps of a test, with a new provider for each of its runs.
func runStepsOn(t *testing.T, newProvider func() provider.Provider, steps ...testresource.TestStep) {
	t.Helper()
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Fatalf("these tests run Terraform: %v", err)
	}
	cli := filepath.Join(t.TempDir(), "terraformrc")
	if err := os.WriteFile(cli, []byte("disable_checkpoint = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"TF_ACC": "1", "TF_ACC_TERRAFORM_PATH": terraform, "TF_CLI_CONFIG_FILE": cli, "CHECKPOINT_DISABLE": "1"} {
		t.Setenv(name, value)
	}
	testresource.Test(t, testresource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"fairlead": func() (tfprotov6.ProviderServer, error) { return newServer(newProvider()), nil },
		},
		Steps: steps,
	})
}
