package provider

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// How long a plan waits for a host that may not be there yet, and for what one that is there is asked.
const (
	planDialTimeout  = 5 * time.Second
	planCheckTimeout = 15 * time.Second
)

// checkAtPlan warns of everything that is in the way of a new host, so that a plan shows it of all hosts before the apply has
// changed any. It is no error: what is in the way may be gone when the apply comes to the host, which checks again. A host that does
// not answer may not be there yet, and one with something of ours is replaced, or goes on where a run ended.
func (d *data) checkAtPlan(ctx context.Context, ref hostRef, at hostPaths, cluster bootstrap.Cluster, target bootstrap.Target, diags *diag.Diagnostics) {
	ctx, cancel := context.WithTimeout(ctx, planCheckTimeout)
	defer cancel()
	err := func() (err error) {
		dialCtx, cancel := context.WithTimeout(ctx, planDialTimeout)
		defer cancel()
		if target.Conn, err = d.hosts.get(dialCtx, ref); err != nil {
			return err
		}
		got, err := bootstrap.Inspect(ctx, target.Conn)
		if err == nil && (got.Present || got.Begun) {
			return nil
		}
		os, arch, err := bootstrap.Platform(ctx, target.Conn)
		if err != nil {
			return err
		}
		return bootstrap.Preflight(ctx, cluster, d.releases.promised(os, arch), []bootstrap.Target{target})
	}()
	var settings *ssh.ConfigError
	if err == nil || unreachable(err) || errors.As(err, &settings) || ctx.Err() != nil {
		if err != nil {
			tflog.Info(ctx, "host not checked before the apply", map[string]any{"host": ref.Address, "error": err.Error()})
		}
		return
	}
	var found diag.Diagnostics
	diagnose(&found, at, "Host can not be checked", err)
	for _, f := range found {
		// Terraform shows the first of warnings with one summary, and the number of the others.
		w := diag.Diagnostic(diag.NewWarningDiagnostic(f.Summary()+": "+ref.Address, strings.TrimSuffix(f.Detail(), nothingChanged)+"\n\nThe apply checks this again, and fails when it is still so."))
		if p, ok := f.(diag.DiagnosticWithPath); ok {
			w = diag.WithPath(p.Path(), w)
		}
		diags.Append(w)
	}
}
