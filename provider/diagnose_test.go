package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
)

// TestHostsThatAreNotReady wants one diagnostic on the address, and one on each range that is set and does not fit.
func TestHostsThatAreNotReady(t *testing.T) {
	failed := &bootstrap.PreflightError{Failures: []host.Failure{
		{Host: "a", Check: "port", Found: "tcp/6443 is taken"}, {Host: "a", Check: "address range", Found: "pods", Setting: "pod_cidr"},
		{Host: "b", Check: "address range", Found: "services", Setting: "service_cidr"}, {Host: "b", Check: "address range", Found: "pods", Setting: "pod_cidr"},
	}}
	at := clusterPaths
	at.settings = map[string]path.Path{"pod_cidr": path.Root("pod_cidr")}
	var diags diag.Diagnostics
	diagnose(&diags, at, "Host can not be checked", failed)
	const unchanged = "\n\nNothing was changed there."
	want := diag.Diagnostics{
		diag.NewAttributeErrorDiagnostic(clusterPaths.address, "Host is not ready",
			"cannot use the hosts, for 2 reasons:\n- a: port: tcp/6443 is taken\n- b: address range: services"+unchanged),
		diag.NewAttributeErrorDiagnostic(path.Root("pod_cidr"), "Host is not ready", "cannot use the hosts, for 2 reasons:\n- a: address range: pods\n- b: address range: pods"+unchanged),
	}
	if !diags.Equal(want) {
		t.Errorf("got %v, want %v", diags, want)
	}
}
