package api

import (
	"slices"
	"strings"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// AuditLevel is how much of a request the audit log keeps.
type AuditLevel = auditv1.Level

// The levels of audit.k8s.io/v1.
const (
	AuditNone            = auditv1.LevelNone
	AuditMetadata        = auditv1.LevelMetadata
	AuditRequest         = auditv1.LevelRequest
	AuditRequestResponse = auditv1.LevelRequestResponse
)

// auditPolicy says by the first rule that fits how much of a request is kept, and of which stages.
type auditPolicy struct{ *auditv1.Policy }

// levelPolicy keeps everything at a level, but for what nobody reads and for what is a secret.
func levelPolicy(level AuditLevel) *auditPolicy {
	secret := min(slices.Index(config.AuditLevels, level), slices.Index(config.AuditLevels, AuditMetadata))
	return &auditPolicy{&auditv1.Policy{
		OmitStages: []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted},
		Rules: []auditv1.PolicyRule{
			{Level: AuditNone, Verbs: []string{"get"}, NonResourceURLs: []string{"*"}},
			{Level: config.AuditLevels[secret], Resources: []auditv1.GroupResources{
				{Resources: []string{"secrets", "configmaps", "serviceaccounts/token"}}, {Group: "authentication.k8s.io", Resources: []string{"tokenreviews"}}}},
			{Level: level},
		},
	}}
}

// auditDecision is what a policy says of a request.
type auditDecision struct {
	level auditv1.Level
	// omit and more are the stages of which nothing is kept.
	omit, more  []auditv1.Stage
	dropManaged bool
}

func (d *auditDecision) omits(s auditv1.Stage) bool {
	return slices.Contains(d.omit, s) || slices.Contains(d.more, s)
}

// decide looks for the first rule that fits; what none fits is not kept.
func (p *auditPolicy) decide(r *request, u *kind.User) auditDecision {
	for i := range p.Rules {
		rule := &p.Rules[i]
		if !auditRuleFits(rule, r, u) {
			continue
		}
		d := auditDecision{level: rule.Level, omit: p.OmitStages, more: rule.OmitStages, dropManaged: p.OmitManagedFields}
		if rule.OmitManagedFields != nil {
			d.dropManaged = *rule.OmitManagedFields
		}
		return d
	}
	return auditDecision{level: AuditNone}
}

func auditRuleFits(rule *auditv1.PolicyRule, r *request, u *kind.User) bool {
	if len(rule.Users) > 0 && !slices.Contains(rule.Users, u.Name) ||
		len(rule.UserGroups) > 0 && !slices.ContainsFunc(rule.UserGroups, func(g string) bool { return slices.Contains(u.Groups, g) }) ||
		len(rule.Verbs) > 0 && !slices.Contains(rule.Verbs, r.verb) {
		return false
	}
	if len(rule.Namespaces) > 0 || len(rule.Resources) > 0 {
		return r.resource && (len(rule.Namespaces) == 0 || slices.Contains(rule.Namespaces, r.namespace)) &&
			(len(rule.Resources) == 0 || slices.ContainsFunc(rule.Resources, func(gr auditv1.GroupResources) bool { return auditResourceFits(&gr, r) }))
	}
	if len(rule.NonResourceURLs) > 0 {
		return !r.resource && slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool {
			prefix, any := strings.CutSuffix(pattern, "*")
			return pattern == r.URL.Path || any && strings.HasPrefix(r.URL.Path, prefix)
		})
	}
	return true
}

func auditResourceFits(gr *auditv1.GroupResources, r *request) bool {
	if gr.Group != r.group {
		return false
	}
	if len(gr.Resources) == 0 {
		return true
	}
	if len(gr.ResourceNames) > 0 && !slices.Contains(gr.ResourceNames, r.name) {
		return false
	}
	whole := r.plural
	if r.subresource != "" {
		whole += "/" + r.subresource
	}
	return slices.ContainsFunc(gr.Resources, func(res string) bool {
		if res == "*" || res == whole {
			return true
		}
		resource, sub, ok := strings.Cut(res, "/")
		return ok && (resource == "*" && sub == r.subresource && sub != "" || sub == "*" && resource == r.plural)
	})
}
