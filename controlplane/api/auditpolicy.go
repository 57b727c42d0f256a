package api

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
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

var (
	auditLevels = []AuditLevel{AuditNone, AuditMetadata, AuditRequest, AuditRequestResponse}
	auditStages = []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic}
)

// auditPolicy says by the first rule that fits how much of a request is kept, and of which stages.
type auditPolicy struct{ auditv1.Policy }

// readAuditPolicy reads a Policy of audit.k8s.io/v1 in YAML or JSON.
func readAuditPolicy(path string) (*auditPolicy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read audit policy: %w", err)
	}
	p := &auditPolicy{}
	if err := yaml.UnmarshalStrict(data, &p.Policy); err != nil {
		return nil, fmt.Errorf("cannot parse audit policy %s: %w", path, err)
	}
	if p.Kind != "Policy" || p.APIVersion != auditv1.SchemeGroupVersion.String() {
		return nil, fmt.Errorf("cannot use audit policy %s: it is a %s of %s and not a Policy of %s", path, p.Kind, p.APIVersion, auditv1.SchemeGroupVersion)
	}
	if len(p.Rules) == 0 {
		return nil, fmt.Errorf("cannot use audit policy %s: it has no rules", path)
	}
	if errs := p.validate(); len(errs) > 0 {
		return nil, fmt.Errorf("cannot use audit policy %s: %w", path, errors.Join(errs.ToAggregate().Errors()...))
	}
	return p, nil
}

// levelPolicy keeps everything at a level, but for what nobody reads and for what is a secret.
func levelPolicy(level AuditLevel) *auditPolicy {
	secret := min(slices.Index(auditLevels, level), slices.Index(auditLevels, AuditMetadata))
	return &auditPolicy{auditv1.Policy{
		OmitStages: []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted},
		Rules: []auditv1.PolicyRule{
			{Level: AuditNone, Verbs: []string{"get"}, NonResourceURLs: []string{"*"}},
			{Level: auditLevels[secret], Resources: []auditv1.GroupResources{
				{Resources: []string{"secrets", "configmaps", "serviceaccounts/token"}}, {Group: "authentication.k8s.io", Resources: []string{"tokenreviews"}}}},
			{Level: level},
		},
	}}
}

func (p *auditPolicy) validate() field.ErrorList {
	errs := checkStages(p.OmitStages, field.NewPath("omitStages"))
	for i := range p.Rules {
		r, path := &p.Rules[i], field.NewPath("rules").Index(i)
		if r.Level == "" {
			errs = append(errs, field.Required(path.Child("level"), ""))
		} else if !slices.Contains(auditLevels, r.Level) {
			errs = append(errs, field.NotSupported(path.Child("level"), r.Level, auditLevels))
		}
		errs = append(errs, checkStages(r.OmitStages, path.Child("omitStages"))...)
		if len(r.NonResourceURLs) > 0 && (len(r.Resources) > 0 || len(r.Namespaces) > 0) {
			errs = append(errs, field.Invalid(path.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		for j, url := range r.NonResourceURLs {
			at := path.Child("nonResourceURLs").Index(j)
			if url != "*" && !strings.HasPrefix(url, "/") {
				errs = append(errs, field.Invalid(at, url, "non-resource URL rules must begin with a '/' character"))
			}
			if url != "" && strings.Contains(url[:len(url)-1], "*") {
				errs = append(errs, field.Invalid(at, url, "non-resource URL wildcards '*' must be the final character of the rule"))
			}
		}
		for j, gr := range r.Resources {
			at := path.Child("resources").Index(j)
			if gr.Group != "" {
				for _, m := range validation.IsDNS1123Subdomain(gr.Group) {
					errs = append(errs, field.Invalid(at.Child("group"), gr.Group, m))
				}
			}
			if len(gr.ResourceNames) > 0 && len(gr.Resources) == 0 {
				errs = append(errs, field.Invalid(at.Child("resourceNames"), gr.ResourceNames, "using resourceNames requires at least one resource"))
			}
		}
	}
	return errs
}

func checkStages(stages []auditv1.Stage, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range stages {
		if !slices.Contains(auditStages, s) {
			errs = append(errs, field.NotSupported(path.Index(i), s, auditStages))
		}
	}
	return errs
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
