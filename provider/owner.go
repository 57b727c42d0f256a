package provider

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
)

// Keys of a resource's private state. By markKey the second plan of a replacement is known from the plan of another
// resource, and a host that is the resource's from one that is not; adoptKey is there from the plan of a resource that was
// imported to its first change: its host has another mark yet.
const (
	markKey  = "host"
	adoptKey = "adopt"
)

// privateState is what Terraform keeps of a resource for the provider alone.
type privateState interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

func getPrivate[T any](ctx context.Context, p privateState, key string) (v T) {
	raw, diags := p.GetKey(ctx, key)
	if diags.HasError() || json.Unmarshal(raw, &v) != nil {
		var none T
		return none
	}
	return v
}

func setPrivate(ctx context.Context, p privateState, key string, v any, diags *diag.Diagnostics) {
	raw, err := json.Marshal(v)
	if err != nil {
		diags.AddError("Private state can not be written", err.Error())
		return
	}
	diags.Append(p.SetKey(ctx, key, raw)...)
}

// newOwner marks a resource that is created. Terraform shows a creation nothing of the private state of its plan.
func newOwner(ctx context.Context, d *data, ref hostRef, p privateState, diags *diag.Diagnostics) bootstrap.Owner {
	mark := rand.Text()
	setPrivate(ctx, p, markKey, mark, diags)
	return d.owner(ref, mark)
}

// ownerOf is a resource that is in state, as hosts are told of it.
func ownerOf(ctx context.Context, d *data, ref hostRef, p privateState) bootstrap.Owner {
	o := d.owner(ref, getPrivate[string](ctx, p, markKey))
	o.Adopts = getPrivate[bool](ctx, p, adoptKey)
	return o
}

func (d *data) owner(ref hostRef, mark string) bootstrap.Owner {
	o := bootstrap.Owner{ID: mark, Host: d.hosts.key(ref), Folder: folder(), By: "somebody"}
	if u, err := user.Current(); err == nil {
		o.By = u.Username
	}
	if name, err := os.Hostname(); err == nil {
		o.By += "@" + name
	}
	return o
}

// folder is where the configuration is applied, with the workspace where that is not the default one: two configurations
// have two of them, and one has the same again when it is applied from elsewhere in the same way.
func folder() string {
	dir, err := os.Getwd()
	if err != nil {
		return "a folder that is gone"
	}
	workspace := os.Getenv("TF_WORKSPACE")
	if workspace == "" {
		name, _ := os.ReadFile(filepath.Join(cmp.Or(os.Getenv("TF_DATA_DIR"), ".terraform"), "environment"))
		workspace = string(bytes.TrimSpace(name))
	}
	if workspace != "" && workspace != "default" {
		dir += ", workspace " + workspace
	}
	return strings.ToValidUTF8(dir, "?")
}
