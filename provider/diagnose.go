package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// hostPaths are the attributes that a host's errors are about.
type hostPaths struct {
	address, hostKey path.Path
	// settings are those that may not fit a host, where they are set.
	settings map[string]path.Path
}

// diagnose adds err to diags, on the attribute that caused it where one did, with what can be done about it.
func diagnose(diags *diag.Diagnostics, at hostPaths, summary string, err error) {
	var (
		preflight *bootstrap.PreflightError
		locked    *bootstrap.LockedError
		key       *ssh.HostKeyError
		auth      *ssh.AuthError
		conn      *ssh.ConnError
		config    *ssh.ConfigError
		release   *releaseError
	)
	switch {
	case errors.Is(err, context.Canceled):
		diags.AddError(summary, err.Error()+"\n\nThe run was interrupted. What exists is kept in state; the next run goes on from there.")
	case errors.As(err, &preflight):
		notReady(diags, at, preflight)
	case errors.As(err, &locked):
		diags.AddAttributeError(at.address, "Host is being changed by another run", lockedDetail(locked))
	case errors.As(err, &key) && key.Unknown():
		// There is no host_key to point at.
		diags.AddAttributeError(at.address, "Host key not verified", err.Error()+
			"\n\nssh-keyscan prints the key; compare it on the host's console.")
	case errors.As(err, &key):
		diags.AddAttributeError(at.hostKey, "Host key not verified", err.Error()+
			"\n\nIf the host was really installed anew, set host_key to its new key (ssh-keyscan prints it; compare it on the host's console). "+
			"Where the state has the old one, apply that once with -refresh=false.")
	case errors.As(err, &auth):
		diags.AddAttributeError(at.address, "SSH login refused", err.Error()+
			"\n\nCheck the user and the key in the provider's ssh block, and authorized_keys on the host.")
	case errors.Is(err, kube.ErrNotKnownYet):
		diags.AddError(summary, err.Error()+"\n\nA data source waits for it with depends_on = [what makes it known].")
	case errors.As(err, &config):
		diags.AddError("SSH configuration does not work", err.Error()+"\n\nThe setting is in the provider's ssh block, or on this resource.")
	case errors.As(err, &conn):
		diags.AddAttributeError(at.address, "Host can not be reached", err.Error()+
			"\n\nWhat exists is kept in state; try again when the host answers.")
	case errors.As(err, &release):
		diags.AddAttributeError(at.address, summary, err.Error()+"\n\nThe host needs the program of its own platform, of this very version. Nothing was changed.")
	default:
		diags.AddError(summary, err.Error())
	}
}

// notReadYet says of a read by a provider's block that is not known yet that the state is left as it is.
func notReadYet(diags *diag.Diagnostics, err error) bool {
	if !errors.Is(err, kube.ErrNotKnownYet) {
		return false
	}
	diags.AddWarning(kube.NotReadYet, err.Error()+"\n\n"+kube.KeptAsItWas)
	return true
}

const nothingChanged = "\n\nNothing was changed there."

// notReady says what is wrong with hosts: all of it at once, and on a setting what is wrong with that.
func notReady(diags *diag.Diagnostics, at hostPaths, err *bootstrap.PreflightError) {
	var names []string // of settings, in the order of their failures; "" for what no setting is to blame for
	of := map[string]*bootstrap.PreflightError{}
	for _, f := range err.Failures {
		name := f.Setting
		if _, set := at.settings[name]; !set {
			name = ""
		}
		if of[name] == nil {
			names, of[name] = append(names, name), &bootstrap.PreflightError{}
		}
		of[name].Failures = append(of[name].Failures, f)
	}
	for _, name := range names {
		on := at.address
		if name != "" {
			on = at.settings[name]
		}
		diags.AddAttributeError(on, "Host is not ready", of[name].Error()+nothingChanged)
	}
}

// lockedDetail says what to do about a host that is locked. There is nothing to remove by hand, and nothing to force.
func lockedDetail(e *bootstrap.LockedError) string {
	if e.Own {
		return e.Error() + "\n\nThat is this very run: two resources of the configuration are of the same host. A host is in one of them."
	}
	return e.Error() + "\n\nNothing was changed. Wait until the other run has ended, and run again. The lock ends with the run that has it, also when that " +
		"is killed, and two minutes after its connection is lost; fuser " + e.File + " on the host shows the process that keeps it there."
}

// unreachable says whether err means that a host does not answer, as opposed to answering with a refusal.
func unreachable(err error) bool {
	var conn *ssh.ConnError
	return errors.As(err, &conn)
}

// progress logs the steps of a bootstrap.
func progress(ctx context.Context) bootstrap.Progress {
	return func(host, step string) {
		tflog.Info(ctx, step, map[string]any{"host": host})
	}
}
