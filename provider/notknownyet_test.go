package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// undialled is the provider where nothing may be dialled.
type undialled struct {
	fairleadProvider
	t *testing.T
}

func (p *undialled) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	p.fairleadProvider.Configure(ctx, req, resp)
	resp.ResourceData.(*data).hosts.dial = func(_ context.Context, c ssh.Config) (ssh.Conn, error) {
		p.t.Errorf("%s was dialled", c.Address)
		return nil, errors.New("not allowed")
	}
}

// TestProviderIsNotKnownYet plans and reads by a block with a value that is known in the apply only. Everything can be
// planned, what is in state stays as it is, and nothing is dialled.
func TestProviderIsNotKnownYet(t *testing.T) {
	sshType := serve(t, nil).provider.AttributeTypes["ssh"].(tftypes.Object)
	bastionType := sshType.AttributeTypes["bastion"].(tftypes.Object)
	type set = map[string]tftypes.Value
	unknown := func(typ tftypes.Type) tftypes.Value { return tftypes.NewValue(typ, tftypes.UnknownValue) }
	for name, tc := range map[string]struct {
		block set
		says  string // of what is not known
	}{
		"ssh":         {set{"ssh": unknown(sshType)}, "ssh"},
		"key":         {set{"ssh": filled(sshType, set{"user": text("ops"), "private_key": unknown(tftypes.String)})}, "ssh.private_key"},
		"two":         {set{"ssh": filled(sshType, set{"user": unknown(tftypes.String), "port": unknown(tftypes.Number)})}, "ssh.port"},
		"bastion":     {set{"ssh": filled(sshType, set{"bastion": unknown(bastionType)})}, "ssh.bastion"},
		"bastion key": {set{"ssh": filled(sshType, set{"bastion": filled(bastionType, set{"address": text("b"), "passphrase": unknown(tftypes.String)})})}, "ssh.bastion.passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			s, diags := configured(t, &undialled{t: t}, tc.block)
			clean(t, "configure", diags)
			// What is new.
			cluster := s.clusterState(22, testHostKey, false)
			planned := s.plan(t, "fairlead_cluster", tftypes.NewValue(cluster.Type(), nil), changed(t, cluster, "id", unknown(tftypes.String)), nil)
			clean(t, "plan of a cluster", planned.Diagnostics)
			node := s.node(set{"address": text("192.0.2.12")})
			clean(t, "plan of a node", s.plan(t, "fairlead_node", tftypes.NewValue(node.Type(), nil), node, nil).Diagnostics)
			// What is there.
			metadata := filled(s.types["fairlead_config_map"].AttributeTypes["metadata"].(tftypes.Object), set{"name": text("a"), "namespace": text("default")})
			for kind, state := range map[string]tftypes.Value{
				"fairlead_cluster":    cluster,
				"fairlead_node":       s.node(set{"address": text("192.0.2.12"), "cluster": text("prod@192.0.2.11"), "id": text("prod@192.0.2.11/two"), "name": text("two"), "host_key": text(testHostKey), "internal_address": text("192.0.2.12"), "version": text("0.0.0-dev")}),
				"fairlead_config_map": filled(s.types["fairlead_config_map"], set{"id": text("prod@192.0.2.11/default/a"), "cluster": text("prod@192.0.2.11"), "metadata": metadata}),
			} {
				resp, err := s.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{TypeName: kind, CurrentState: dynamic(t, state)})
				if err != nil {
					t.Fatal(err)
				}
				if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Severity != tfprotov6.DiagnosticSeverityWarning ||
					!strings.Contains(resp.Diagnostics[0].Detail, tc.says+": it is not known yet") {
					t.Errorf("reading a %s, it says %+v, want a warning of %s", kind, resp.Diagnostics, tc.says)
				}
				if got, err := resp.NewState.Unmarshal(state.Type()); err != nil || !got.Equal(state) {
					t.Errorf("the state of a %s became %v, %v", kind, got, err)
				}
			}
		})
	}
}

// TestProviderIsKnownInTheApply has the same apply make what the provider's block says, once for new resources and once
// for those in state, with an ephemeral value beside it.
func TestProviderIsKnownInTheApply(t *testing.T) {
	config := startAPI(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, contexts: [{name: prod, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "%s"}}]}`, config.Host)
	if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "fairlead_config_map.app"
	with := func(file, value string) string {
		return fmt.Sprintf(`variable "context" {
  default   = "prod"
  ephemeral = true
}

resource "terraform_data" "kubeconfig" {
  input            = "%[1]s"
  triggers_replace = "%[1]s"
  provisioner "local-exec" {
    command = "cp %[2]s %[1]s"
  }
}

provider "fairlead" {
  kubeconfig_path    = terraform_data.kubeconfig.output
  kubeconfig_context = var.context
}

resource "fairlead_config_map" "app" {
  metadata = { name = "app" }
  data     = { file = terraform_data.kubeconfig.output, value = "%[3]s" }
}`, file, source, value)
	}
	has := func(file, value string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			m, err := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default").Get(context.Background(), "app", metav1.GetOptions{})
			if err == nil && (m.Data["file"] != file || m.Data["value"] != value) {
				err = fmt.Errorf("the data is %v", m.Data)
			}
			return err
		}
	}
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	checks := func(action plancheck.ResourceActionType) resource.ConfigPlanChecks {
		return resource.ConfigPlanChecks{
			PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(name, action),
				plancheck.ExpectUnknownValue(name, tfjsonpath.New("data").AtMapKey("file")),
			},
			PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		}
	}
	runStepsOn(t, New(),
		resource.TestStep{Config: with(first, "1"), ConfigPlanChecks: checks(plancheck.ResourceActionCreate), Check: has(first, "1")},
		resource.TestStep{Config: with(second, "2"), ConfigPlanChecks: checks(plancheck.ResourceActionUpdate), Check: has(second, "2")},
	)
}
