package kind

import (
	"fmt"
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
	"k8s.io/client-go/util/jsonpath"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

const (
	maxAuditAnnotations = 20
	maxAuditExpression  = 5 << 10 // bytes
	noParams            = "<unset>"
)

func admissionPolicyKind() *Kind {
	d := admissionDefinition("ValidatingAdmissionPolicy", "validatingadmissionpolicies",
		func() *admissionregistrationv1.ValidatingAdmissionPolicy {
			return &admissionregistrationv1.ValidatingAdmissionPolicy{}
		},
		func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyList{} })
	d.defaults = func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		defaults.Pointer(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
		defaultMatchResources(p.Spec.MatchConstraints)
	}
	d.prepareCreate = func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		p.Status = admissionregistrationv1.ValidatingAdmissionPolicyStatus{}
	}
	d.prepareUpdate = func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) { p.Status = old.Status }
	d.validate = validateAdmissionPolicy
	d.status = &statusRules[*admissionregistrationv1.ValidatingAdmissionPolicy]{
		prepareUpdate: func(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Spec = old.Spec
			metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
		},
		unowned: Paths("spec", "metadata"),
		validate: func(p, _ *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
			return validatePolicyStatus(&p.Status)
		},
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

func validatePolicyStatus(status *admissionregistrationv1.ValidatingAdmissionPolicyStatus) field.ErrorList {
	path := field.NewPath("status")
	var errs field.ErrorList
	if status.TypeChecking != nil {
		for i, w := range status.TypeChecking.ExpressionWarnings {
			at := path.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				errs = append(errs, field.Required(at.Child("warning"), ""))
			}
			if ref := strings.TrimSpace(w.FieldRef); ref == "" {
				errs = append(errs, field.Required(at.Child("fieldRef"), ""))
			} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
				errs = append(errs, field.Invalid(at.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err)))
			}
		}
	}
	return append(errs, metavalidation.ValidateConditions(status.Conditions, path.Child("conditions"))...)
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
	check, err := expression.NewChecker(spec)
	if err != nil {
		return append(errs, field.InternalError(path, err))
	}
	errs = append(errs, validateMatchConditions(spec.MatchConditions, path.Child("matchConditions"), check.Condition)...)
	errs = append(errs, validatePolicyVariables(spec.Variables, check, path.Child("variables"))...)
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		const needed = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(path.Child("validations"), needed), field.Required(path.Child("auditAnnotations"), needed))
	}
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
		if bad := validation.IsDNS1123Subdomain(gv.Group); gv.Group != "" && len(bad) > 0 {
			errs = append(errs, field.Invalid(path.Child("apiVersion"), gv.Group, strings.Join(bad, ",")))
		}
		if gv.Version == "" {
			errs = append(errs, field.Invalid(path.Child("apiVersion"), k.APIVersion, "version must be specified"))
		} else if bad := validation.IsDNS1035Label(gv.Version); len(bad) > 0 {
			errs = append(errs, field.Invalid(path.Child("apiVersion"), gv.Version, strings.Join(bad, ",")))
		}
	}
	if k.Kind == "" {
		errs = append(errs, field.Required(path.Child("kind"), ""))
	} else if bad := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(bad) > 0 {
		errs = append(errs, field.Invalid(path.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(bad, ",")))
	}
	return errs
}

var (
	celIdentifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)
	celReserved   = []string{"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"}
)

func validatePolicyVariables(list []admissionregistrationv1.Variable, check *expression.Checker, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range list {
		at := path.Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		case !celIdentifier.MatchString(v.Name) || slices.Contains(celReserved, v.Name):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		} else if err := check.Variable(v.Name, v.Expression); err != nil {
			errs = append(errs, field.Invalid(at.Child("expression"), v.Expression, err.Error()))
		}
	}
	return errs
}

var policyReasons = []metav1.StatusReason{
	metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge,
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
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "must be non-empty if specified"))
	case strings.ContainsAny(message, "\r\n"):
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "must not contain line breaks"))
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
		key := p.Name + "/" + a.Key
		errs = append(errs, validate.QualifiedName(key, at.Child("key"))...)
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
		case len(text) > maxAuditExpression:
			errs = append(errs, field.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxAuditExpression)))
		default:
			if err := check.Annotation(text); err != nil {
				errs = append(errs, field.Invalid(at.Child("valueExpression"), a.ValueExpression, err.Error()))
			}
		}
		if keys[a.Key] {
			errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
		}
		keys[a.Key] = true
	}
	return errs
}
