package provider

import (
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// oidcModel is the issuer whose users a cluster lets in.
type oidcModel struct {
	IssuerURL      types.String `tfsdk:"issuer_url"`
	ClientID       types.String `tfsdk:"client_id"`
	Audiences      types.List   `tfsdk:"audiences"`
	UsernameClaim  types.String `tfsdk:"username_claim"`
	UsernamePrefix types.String `tfsdk:"username_prefix"`
	GroupsClaim    types.String `tfsdk:"groups_claim"`
	GroupsPrefix   types.String `tfsdk:"groups_prefix"`
	RequiredClaims types.Map    `tfsdk:"required_claims"`
	SigningAlgs    types.List   `tfsdk:"signing_algs"`
	CACertificate  types.String `tfsdk:"ca_certificate"`
}

var (
	oidcTypes  = attributeTypes(oidcAttribute())
	auditTypes = attributeTypes(auditAttribute())
)

func attributeTypes(a schema.SingleNestedAttribute) map[string]attr.Type {
	return a.GetType().(attr.TypeWithAttributeTypes).AttributeTypes()
}

// oidcFields are the attributes of the configuration file's fields.
var oidcFields = map[string]string{
	"issuerURL": "issuer_url", "clientID": "client_id", "audiences": "audiences", "signingAlgs": "signing_algs", "ca": "ca_certificate",
}

func oidcAttribute() schema.SingleNestedAttribute {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true}
	}
	return schema.SingleNestedAttribute{
		MarkdownDescription: "Let users in by the ID tokens of an OpenID Connect issuer. The names are those of kube-apiserver's flags `--oidc-…`. A change restarts the control plane.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"issuer_url": schema.StringAttribute{
				MarkdownDescription: "URL of the issuer, https, to the letter what its tokens' `iss` says.",
				Required:            true,
			},
			"client_id": text("Whom tokens are for. One of this and `audiences` is required."),
			"audiences": schema.ListAttribute{
				MarkdownDescription: "Further audiences; a token needs one.",
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.List{listvalidator.SizeAtLeast(1)},
			},
			"username_claim":  text("Claim that names the user. Default: `sub`."),
			"username_prefix": text("What goes before the name. Default: the issuer and `#`, and nothing for the claim `email`; `-` means nothing."),
			"groups_claim":    text("Claim with the user's groups. Default: tokens bring no groups."),
			"groups_prefix":   text("What goes before each group. Default: nothing."),
			"required_claims": schema.MapAttribute{
				MarkdownDescription: "Claims that a token must have, with this value.",
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.Map{mapvalidator.SizeAtLeast(1)},
			},
			"signing_algs": schema.ListAttribute{
				MarkdownDescription: "What tokens may be signed with. Default: `RS256`.",
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.List{listvalidator.SizeAtLeast(1), listvalidator.ValueStringsAre(stringvalidator.OneOf(config.SigningAlgs...))},
			},
			"ca_certificate": text("PEM certificates that verify the issuer. Default: the authorities that the host trusts."),
		},
	}
}

// validateOIDC checks an issuer that is wholly known.
func validateOIDC(ctx context.Context, v types.Object, diags *diag.Diagnostics) {
	if v.IsNull() || !wholly(ctx, v) {
		return
	}
	c := oidcConfig(ctx, v, diags)
	if diags.HasError() {
		return
	}
	_, err := c.Completed()
	if field, ok := errors.AsType[*config.FieldError](err); ok {
		at := path.Root("oidc").AtName(oidcFields[strings.TrimPrefix(field.Field, "oidc.")])
		invalid(diags, at, "Invalid issuer", field.Why)
	}
}

// wholly says whether nothing of a value is unknown.
func wholly(ctx context.Context, v types.Object) bool {
	raw, err := v.ToTerraformValue(ctx)
	return err == nil && raw.IsFullyKnown()
}

func oidcConfig(ctx context.Context, v types.Object, diags *diag.Diagnostics) *config.OIDC {
	if v.IsNull() {
		return nil
	}
	var m oidcModel
	diags.Append(v.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return &config.OIDC{
		IssuerURL: m.IssuerURL.ValueString(), ClientID: m.ClientID.ValueString(), Audiences: stringList(ctx, m.Audiences),
		UsernameClaim: m.UsernameClaim.ValueString(), UsernamePrefix: m.UsernamePrefix.ValueString(),
		GroupsClaim: m.GroupsClaim.ValueString(), GroupsPrefix: m.GroupsPrefix.ValueString(),
		RequiredClaims: stringMap(ctx, m.RequiredClaims), SigningAlgs: stringList(ctx, m.SigningAlgs), CA: m.CACertificate.ValueString(),
	}
}

func oidcModelOf(c *config.OIDC) *oidcModel {
	if c == nil {
		return nil
	}
	return &oidcModel{
		IssuerURL: optional(c.IssuerURL), ClientID: optional(c.ClientID), Audiences: listOf(c.Audiences),
		UsernameClaim: optional(c.UsernameClaim), UsernamePrefix: optional(c.UsernamePrefix),
		GroupsClaim: optional(c.GroupsClaim), GroupsPrefix: optional(c.GroupsPrefix),
		RequiredClaims: mapOf(c.RequiredClaims), SigningAlgs: listOf(c.SigningAlgs), CACertificate: optional(c.CA),
	}
}

// auditModel is the audit log of a cluster.
type auditModel struct {
	Level   types.String `tfsdk:"level"`
	Policy  types.String `tfsdk:"policy"`
	MaxMiB  types.Int64  `tfsdk:"max_size_mib"`
	MaxKeep types.Int64  `tfsdk:"max_backups"`
}

func auditAttribute() schema.SingleNestedAttribute {
	levels := make([]string, len(config.AuditLevels))
	for i, l := range config.AuditLevels {
		levels[i] = string(l)
	}
	return schema.SingleNestedAttribute{
		MarkdownDescription: "The audit log, `/var/lib/fairlead/server/audit.log` on the host. A change restarts the control plane.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"level": schema.StringAttribute{
				MarkdownDescription: "How much of each request is kept: `None`, `Metadata`, `Request` or `RequestResponse`. Default: `Metadata`. Bodies of Secrets, ConfigMaps and tokens are never kept.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.OneOf(levels...), stringvalidator.ConflictsWith(path.MatchRelative().AtParent().AtName("policy"))},
			},
			"policy": schema.StringAttribute{
				MarkdownDescription: "A `Policy` of `audit.k8s.io/v1` as YAML or JSON, which says the level of each request.",
				Optional:            true,
			},
			"max_size_mib": schema.Int64Attribute{
				MarkdownDescription: "Size in MiB at which the log is rotated. Default: 100.",
				Optional:            true,
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
			},
			"max_backups": schema.Int64Attribute{
				MarkdownDescription: "How many rotated logs are kept. Default: 10.",
				Optional:            true,
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
			},
		},
	}
}

func validateAudit(ctx context.Context, v types.Object, diags *diag.Diagnostics) {
	if v.IsNull() || v.IsUnknown() {
		return
	}
	var m auditModel
	if diags.Append(v.As(ctx, &m, basetypes.ObjectAsOptions{})...); diags.HasError() || m.Policy.IsNull() || m.Policy.IsUnknown() {
		return
	}
	if _, err := config.ParseAuditPolicy([]byte(m.Policy.ValueString())); err != nil {
		at := path.Root("audit").AtName("policy")
		invalid(diags, at, "Invalid audit policy", err.Error())
	}
}

func auditConfig(ctx context.Context, v types.Object, diags *diag.Diagnostics) config.Audit {
	if v.IsNull() {
		return config.Audit{}
	}
	var m auditModel
	diags.Append(v.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return config.Audit{
		Level: m.Level.ValueString(), Policy: m.Policy.ValueString(), MaxMiB: int(m.MaxMiB.ValueInt64()), MaxKeep: int(m.MaxKeep.ValueInt64()),
	}
}

func auditModelOf(c config.Audit) *auditModel {
	if c == (config.Audit{}) {
		return nil
	}
	m := &auditModel{Level: optional(c.Level), Policy: optional(c.Policy)}
	if c.MaxMiB > 0 {
		m.MaxMiB = types.Int64Value(int64(c.MaxMiB))
	}
	if c.MaxKeep > 0 {
		m.MaxKeep = types.Int64Value(int64(c.MaxKeep))
	}
	return m
}

// optional is null for nothing.
func optional(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

func listOf(values []string) types.List {
	if len(values) == 0 {
		return types.ListNull(types.StringType)
	}
	elements := make([]attr.Value, len(values))
	for i, v := range values {
		elements[i] = types.StringValue(v)
	}
	return types.ListValueMust(types.StringType, elements)
}

func mapOf(values map[string]string) types.Map {
	if len(values) == 0 {
		return types.MapNull(types.StringType)
	}
	elements := make(map[string]attr.Value, len(values))
	for k, v := range values {
		elements[k] = types.StringValue(v)
	}
	return types.MapValueMust(types.StringType, elements)
}
