package kind

import (
	"regexp"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
)

const (
	maxAuditAnnotations = 20
	noParams            = "<unset>"
)

func admissionPolicyKind() *Kind {
	d := admissionDefinition("ValidatingAdmissionPolicy", "validatingadmissionpolicies",
		func() *admissionregistrationv1.ValidatingAdmissionPolicy {
			return &admissionregistrationv1.ValidatingAdmissionPolicy{}
		},
		func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyList{} })
	d.defaults = func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		setDefault(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
		defaultMatchResources(p.Spec.MatchConstraints)
	}
	d.prepareCreate = func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		p.Status = admissionregistrationv1.ValidatingAdmissionPolicyStatus{}
	}
	d.prepareUpdate = func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) { p.Status = old.Status }
	d.validate = validateAdmissionPolicy
	d.status = &statusRules[*admissionregistrationv1.ValidatingAdmissionPolicy]{
		prepareUpdate: func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) { p.Spec = old.Spec },
	}
	d.columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Validations", "integer", "Validations indicates the number of validation rules defined in this configuration"),
		column("ParamKind", "string", "ParamKind specifies the kind of resources used to parameterize this policy"),
		ageColumn(),
	}
	d.row = func(p *admissionregistrationv1.ValidatingAdmissionPolicy, now time.Time) []any {
		params := noParams
		if k := p.Spec.ParamKind; k != nil {
			params = k.APIVersion + "/" + k.Kind
		}
		return []any{p.Name, int64(len(p.Spec.Validations)), params, age(p, now)}
	}
	return d.build()
}

func admissionPolicyBindingKind() *Kind {
	d := admissionDefinition("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings",
		func() *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
			return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		},
		func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{} })
	d.defaults = func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
		defaultMatchResources(b.Spec.MatchResources)
	}
	d.validate = validateAdmissionPolicyBinding
	d.columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("PolicyName", "string", "PolicyName indicates the policy definition which the policy binding binded to"),
		column("ParamRef", "string", "ParamRef indicates the param resource which sets the configration param"),
		ageColumn(),
	}
	d.row = func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding, now time.Time) []any {
		return []any{b.Name, b.Spec.PolicyName, paramsCell(b.Spec.ParamRef), age(b, now)}
	}
	return d.build()
}

// paramsCell prints which parameters a binding selects.
func paramsCell(r *admissionregistrationv1.ParamRef) string {
	switch {
	case r == nil:
		return noParams
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return metav1.FormatLabelSelector(r.Selector)
	}
	return noParams
}

// matchingOf returns what match resources have in common with webhooks.
func matchingOf(m *admissionregistrationv1.MatchResources) matching {
	return matching{&m.MatchPolicy, &m.NamespaceSelector, &m.ObjectSelector}
}

func defaultMatchResources(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	matchingOf(m).setDefaults()
	for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			setDefault(&rules[i].Scope, admissionregistrationv1.AllScopes)
		}
	}
}

func validateAdmissionPolicy(p *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	spec, path := &p.Spec, field.NewPath("spec")
	errs := validateFailurePolicy(spec.FailurePolicy, path)
	if spec.ParamKind != nil {
		errs = append(errs, validateParamKind(spec.ParamKind, path.Child("paramKind"))...)
	}
	switch constraints := path.Child("matchConstraints"); {
	case spec.MatchConstraints == nil:
		errs = append(errs, field.Required(constraints, ""))
	default:
		errs = append(errs, validateMatchResources(spec.MatchConstraints, constraints)...)
		if len(spec.MatchConstraints.ResourceRules) == 0 {
			errs = append(errs, field.Required(constraints.Child("resourceRules"), ""))
		}
	}
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		const needed = "validations or auditAnnotations must contain at least one item"
		errs = append(errs, field.Required(path.Child("validations"), needed), field.Required(path.Child("auditAnnotations"), needed))
	}
	check, err := expression.NewChecker(spec)
	if err != nil {
		return append(errs, field.InternalError(path, err))
	}
	errs = append(errs, validatePolicyVariables(spec.Variables, check, path.Child("variables"))...)
	errs = append(errs, validateMatchConditions(spec.MatchConditions, path.Child("matchConditions"), check.Bool)...)
	for i := range spec.Validations {
		errs = append(errs, validatePolicyValidation(&spec.Validations[i], check, path.Child("validations").Index(i))...)
	}
	return append(errs, validateAuditAnnotations(p, check, path.Child("auditAnnotations"))...)
}

func validateParamKind(k *admissionregistrationv1.ParamKind, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if k.APIVersion == "" {
		errs = append(errs, field.Required(path.Child("apiVersion"), ""))
	} else if gv, err := schema.ParseGroupVersion(k.APIVersion); err != nil {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), k.APIVersion, err.Error()))
	} else {
		if gv.Group != "" {
			errs = append(errs, invalidEach(path.Child("apiVersion"), gv.Group, validation.IsDNS1123Subdomain(gv.Group))...)
		}
		errs = append(errs, invalidEach(path.Child("apiVersion"), gv.Version, validation.IsDNS1035Label(gv.Version))...)
	}
	if k.Kind == "" {
		errs = append(errs, field.Required(path.Child("kind"), ""))
	} else if bad := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(bad) > 0 {
		errs = append(errs, field.Invalid(path.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(bad, ",")))
	}
	return errs
}

func validateMatchResources(m *admissionregistrationv1.MatchResources, path *field.Path) field.ErrorList {
	errs := matchingOf(m).validate(path)
	for part, rules := range map[string][]admissionregistrationv1.NamedRuleWithOperations{"resourceRules": m.ResourceRules, "excludeResourceRules": m.ExcludeResourceRules} {
		for i := range rules {
			at := path.Child(part).Index(i)
			names := map[string]bool{}
			for j, name := range rules[i].ResourceNames {
				if name == "" {
					errs = append(errs, field.Required(at.Child("resourceNames").Index(j), ""))
				} else if names[name] {
					errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(j), name))
				}
				names[name] = true
			}
			errs = append(errs, validateAdmissionRule(&rules[i].RuleWithOperations, at)...)
		}
	}
	return errs
}

var (
	celIdentifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)
	celReserved   = []string{"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"}
)

func validatePolicyVariables(list []admissionregistrationv1.Variable, check *expression.Checker, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, v := range list {
		at := path.Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		case !celIdentifier.MatchString(v.Name) || slices.Contains(celReserved, v.Name):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "name is not a valid CEL identifier"))
		case names[v.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		}
		names[v.Name] = true
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		} else if err := check.Variable(v.Name, v.Expression); err != nil {
			errs = append(errs, field.Invalid(at.Child("expression"), v.Expression, err.Error()))
		}
	}
	return errs
}

var policyReasons = []metav1.StatusReason{
	metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized,
}

func validatePolicyValidation(v *admissionregistrationv1.Validation, check *expression.Checker, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	trimmed, message := strings.TrimSpace(v.Expression), strings.TrimSpace(v.Message)
	if trimmed == "" {
		errs = append(errs, field.Required(path.Child("expression"), "expression is not specified"))
	} else if err := check.Bool(v.Expression); err != nil {
		errs = append(errs, field.Invalid(path.Child("expression"), v.Expression, err.Error()))
	}
	if strings.TrimSpace(v.MessageExpression) != "" {
		if err := check.Message(v.MessageExpression); err != nil {
			errs = append(errs, field.Invalid(path.Child("messageExpression"), v.MessageExpression, err.Error()))
		}
	} else if v.MessageExpression != "" {
		errs = append(errs, field.Invalid(path.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
	}
	switch {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.ContainsAny(message, "\r\n"):
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "message must not contain line breaks"))
	case strings.ContainsAny(trimmed, "\r\n") && v.Message == "":
		errs = append(errs, field.Required(path.Child("message"), "message must be specified if expression contains line breaks"))
	}
	if v.Reason != nil && !slices.Contains(policyReasons, *v.Reason) {
		errs = append(errs, field.NotSupported(path.Child("reason"), *v.Reason, policyReasons))
	}
	return errs
}

func validateAuditAnnotations(p *admissionregistrationv1.ValidatingAdmissionPolicy, check *expression.Checker, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(p.Spec.AuditAnnotations); n > maxAuditAnnotations {
		errs = append(errs, field.Invalid(path, p.Spec.AuditAnnotations, "must not have more than 20 auditAnnotations"))
	}
	keys := map[string]bool{}
	for i, a := range p.Spec.AuditAnnotations {
		at := path.Index(i)
		if a.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		} else {
			errs = append(errs, invalidEach(at.Child("key"), a.Key, validation.IsQualifiedName(p.Name+"/"+a.Key))...)
			if keys[a.Key] {
				errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
			}
			keys[a.Key] = true
		}
		if strings.TrimSpace(a.ValueExpression) == "" {
			errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
		} else if err := check.Annotation(a.ValueExpression); err != nil {
			errs = append(errs, field.Invalid(at.Child("valueExpression"), a.ValueExpression, err.Error()))
		}
	}
	return errs
}

var validationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn}

func validateAdmissionPolicyBinding(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	spec, path := &b.Spec, field.NewPath("spec")
	var errs field.ErrorList
	if spec.PolicyName == "" {
		errs = append(errs, field.Required(path.Child("policyName"), ""))
	} else {
		errs = append(errs, invalidEach(path.Child("policyName"), spec.PolicyName, validation.IsDNS1123Subdomain(spec.PolicyName))...)
	}
	if spec.ParamRef != nil {
		errs = append(errs, validateParamRef(spec.ParamRef, path.Child("paramRef"))...)
	}
	if spec.MatchResources != nil {
		errs = append(errs, validateMatchResources(spec.MatchResources, path.Child("matchResources"))...)
	}
	actions := path.Child("validationActions")
	if len(spec.ValidationActions) == 0 {
		errs = append(errs, field.Required(actions, "at least one validation action is required"))
	}
	for i, a := range spec.ValidationActions {
		if !slices.Contains(validationActions, a) {
			errs = append(errs, field.NotSupported(actions.Index(i), a, validationActions))
		}
		if slices.Contains(spec.ValidationActions[:i], a) {
			errs = append(errs, field.Duplicate(actions.Index(i), a))
		}
	}
	if slices.Contains(spec.ValidationActions, admissionregistrationv1.Deny) && slices.Contains(spec.ValidationActions, admissionregistrationv1.Warn) {
		errs = append(errs, field.Invalid(actions, spec.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}

func validateParamRef(r *admissionregistrationv1.ParamRef, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Name != "" {
		errs = append(errs, invalidEach(path.Child("name"), r.Name, validation.IsDNS1123Subdomain(r.Name))...)
		if r.Selector != nil {
			errs = append(errs, field.Forbidden(path.Child("name"), "name and selector are mutually exclusive"))
		}
	} else if r.Selector == nil {
		errs = append(errs, field.Required(path, "one of name or selector must be specified"))
	}
	if r.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(r.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	}
	if r.Namespace != "" {
		errs = append(errs, invalidEach(path.Child("namespace"), r.Namespace, validation.IsDNS1123Label(r.Namespace))...)
	}
	switch a := r.ParameterNotFoundAction; {
	case a == nil:
		errs = append(errs, field.Required(path.Child("parameterNotFoundAction"), ""))
	case *a != admissionregistrationv1.AllowAction && *a != admissionregistrationv1.DenyAction:
		errs = append(errs, field.NotSupported(path.Child("parameterNotFoundAction"), *a, []string{"Allow", "Deny"}))
	}
	return errs
}
