package config

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
)

// AuditLevels are the levels of audit.k8s.io/v1, from less to more.
var AuditLevels = []auditv1.Level{auditv1.LevelNone, auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse}

var auditStages = []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic}

// ReadPolicy returns the policy that the configuration has or names, nil for none.
func (a *Audit) ReadPolicy() (*auditv1.Policy, error) {
	switch {
	case a.Policy != "" && a.PolicyFile != "":
		return nil, &FieldError{Field: "audit.policy", Why: "only one of it and policyFile may be set"}
	case a.Policy != "":
		p, err := ParseAuditPolicy([]byte(a.Policy))
		if err != nil {
			return nil, &FieldError{Field: "audit.policy", Why: err.Error()}
		}
		return p, nil
	case a.PolicyFile == "":
		return nil, nil
	}
	data, err := os.ReadFile(a.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read audit policy: %w", err)
	}
	p, err := ParseAuditPolicy(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use audit policy %s: %w", a.PolicyFile, err)
	}
	return p, nil
}

// ParseAuditPolicy reads a Policy of audit.k8s.io/v1 in YAML or JSON and checks it.
func ParseAuditPolicy(data []byte) (*auditv1.Policy, error) {
	p := &auditv1.Policy{}
	if err := yaml.UnmarshalStrict(data, p); err != nil {
		return nil, err
	}
	if p.Kind != "Policy" || p.APIVersion != auditv1.SchemeGroupVersion.String() {
		return nil, fmt.Errorf("it is a %q of %q and not a Policy of %s", p.Kind, p.APIVersion, auditv1.SchemeGroupVersion)
	}
	if len(p.Rules) == 0 {
		return nil, errors.New("it has no rules")
	}
	if errs := checkAuditPolicy(p); len(errs) > 0 {
		return nil, errors.Join(errs.ToAggregate().Errors()...)
	}
	return p, nil
}

func checkAuditPolicy(p *auditv1.Policy) field.ErrorList {
	errs := checkStages(p.OmitStages, field.NewPath("omitStages"))
	for i := range p.Rules {
		r, path := &p.Rules[i], field.NewPath("rules").Index(i)
		if r.Level == "" {
			errs = append(errs, field.Required(path.Child("level"), ""))
		} else if !slices.Contains(AuditLevels, r.Level) {
			errs = append(errs, field.NotSupported(path.Child("level"), r.Level, AuditLevels))
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
