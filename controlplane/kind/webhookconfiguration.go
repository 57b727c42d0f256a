package kind

import (
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// webhookConfigurationKind is a kind that is a list of webhooks.
func webhookConfigurationKind[T Object](kind, plural string, new func() T, list func() runtime.Object, hooks func(T) []webhook) *Kind {
	d := admissionDefinition(kind, plural, new, list)
	d.defaults = func(c T) {
		for _, h := range hooks(c) {
			defaultWebhook(h)
		}
	}
	d.prepareUpdate = func(c, old T) {
		if !sameAsStored(c, old) {
			c.SetGeneration(old.GetGeneration() + 1)
		}
	}
	d.validate = func(c T) field.ErrorList { return validateWebhooks(hooks(c)) }
	d.columns = []metav1.TableColumnDefinition{
		nameColumn(), column("Webhooks", "integer", "Webhooks indicates the number of webhooks registered in this configuration"), ageColumn(),
	}
	d.row = func(c T, now time.Time) []any { return []any{c.GetName(), int64(len(hooks(c))), age(c, now)} }
	return d.build()
}

func mutatingWebhookKind() *Kind {
	return webhookConfigurationKind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
		func() *admissionregistrationv1.MutatingWebhookConfiguration {
			return &admissionregistrationv1.MutatingWebhookConfiguration{}
		},
		func() runtime.Object { return &admissionregistrationv1.MutatingWebhookConfigurationList{} },
		func(c *admissionregistrationv1.MutatingWebhookConfiguration) []webhook {
			hooks := make([]webhook, len(c.Webhooks))
			for i := range c.Webhooks {
				h := &c.Webhooks[i]
				hooks[i] = webhook{h.Name, &h.ClientConfig, h.Rules, &h.FailurePolicy, matching{&h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector},
					h.SideEffects, &h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions, &h.ReinvocationPolicy}
			}
			return hooks
		})
}

func validatingWebhookKind() *Kind {
	return webhookConfigurationKind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
		func() *admissionregistrationv1.ValidatingWebhookConfiguration {
			return &admissionregistrationv1.ValidatingWebhookConfiguration{}
		},
		func() runtime.Object { return &admissionregistrationv1.ValidatingWebhookConfigurationList{} },
		func(c *admissionregistrationv1.ValidatingWebhookConfiguration) []webhook {
			hooks := make([]webhook, len(c.Webhooks))
			for i := range c.Webhooks {
				h := &c.Webhooks[i]
				hooks[i] = webhook{h.Name, &h.ClientConfig, h.Rules, &h.FailurePolicy, matching{&h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector},
					h.SideEffects, &h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions, nil}
			}
			return hooks
		})
}

var webhooksPath = field.NewPath("webhooks")

// webhook is what mutating and validating ones have in common.
type webhook struct {
	name           string
	client         *admissionregistrationv1.WebhookClientConfig
	rules          []admissionregistrationv1.RuleWithOperations
	failurePolicy  **admissionregistrationv1.FailurePolicyType
	matching       matching
	sideEffects    *admissionregistrationv1.SideEffectClass
	timeout        **int32
	reviewVersions []string
	conditions     []admissionregistrationv1.MatchCondition
	reinvocation   **admissionregistrationv1.ReinvocationPolicyType // nil for validating ones
}

func defaultWebhook(h webhook) {
	defaults.Pointer(h.failurePolicy, admissionregistrationv1.Fail)
	h.matching.setDefaults()
	defaults.Pointer(h.timeout, 10)
	if h.reinvocation != nil {
		defaults.Pointer(h.reinvocation, admissionregistrationv1.NeverReinvocationPolicy)
	}
	for i := range h.rules {
		defaults.Pointer(&h.rules[i].Scope, admissionregistrationv1.AllScopes)
	}
	if s := h.client.Service; s != nil {
		defaults.Pointer(&s.Port, 443)
	}
}

func validateWebhooks(hooks []webhook) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, h := range hooks {
		at := webhooksPath.Index(i)
		errs = append(errs, validateWebhook(h, at)...)
		errs = append(errs, validateReviewVersions(h.reviewVersions, at.Child("admissionReviewVersions"))...)
		if names[h.name] && h.name != "" {
			errs = append(errs, field.Duplicate(at.Child("name"), h.name))
		}
		names[h.name] = true
	}
	return errs
}

func validateWebhook(h webhook, path *field.Path) field.ErrorList {
	errs := validation.IsFullyQualifiedName(path.Child("name"), h.name)
	for i := range h.rules {
		errs = append(errs, validateAdmissionRule(&h.rules[i], path.Child("rules").Index(i))...)
	}
	errs = append(errs, validateFailurePolicy(*h.failurePolicy, path)...)
	errs = append(errs, h.matching.validatePolicy(path)...)
	switch {
	case h.sideEffects == nil:
		errs = append(errs, field.Required(path.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
	case *h.sideEffects != admissionregistrationv1.SideEffectClassNone && *h.sideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun:
		errs = append(errs, field.NotSupported(path.Child("sideEffects"), *h.sideEffects, []string{"None", "NoneOnDryRun"}))
	}
	if t := *h.timeout; t != nil && (*t < 1 || *t > maxWebhookTimeout) {
		errs = append(errs, field.Invalid(path.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, h.matching.validateSelectors(path)...)
	if h.reinvocation != nil {
		if p := *h.reinvocation; p != nil && *p != admissionregistrationv1.NeverReinvocationPolicy && *p != admissionregistrationv1.IfNeededReinvocationPolicy {
			errs = append(errs, field.NotSupported(path.Child("reinvocationPolicy"), *p, []string{"IfNeeded", "Never"}))
		}
	}
	errs = append(errs, validateClientConfig(h.client, path.Child("clientConfig"))...)
	return append(errs, validateMatchConditions(h.conditions, path.Child("matchConditions"), expression.CheckCondition)...)
}

func validateReviewVersions(versions []string, path *field.Path) field.ErrorList {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(path, "must specify one of v1, v1beta1")}
	}
	var errs field.ErrorList
	seen, known := map[string]bool{}, false
	for i, v := range versions {
		if seen[v] {
			errs = append(errs, field.Invalid(path.Index(i), v, "duplicate version"))
			continue
		}
		seen[v] = true
		errs = append(errs, validate.Each(path.Index(i), v, validation.IsDNS1035Label(v))...)
		known = known || v == "v1" || v == "v1beta1"
	}
	if !known {
		errs = append(errs, field.Invalid(path, versions, "must include at least one of v1, v1beta1"))
	}
	return errs
}

func validateClientConfig(c *admissionregistrationv1.WebhookClientConfig, path *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(path, "exactly one of url or service is required")}
	case c.URL != nil:
		return webhookutil.ValidateWebhookURL(path.Child("url"), *c.URL, true)
	}
	s := c.Service
	// Kubernetes hands over name and namespace in each other's place, so that errors name the other one
	return webhookutil.ValidateWebhookService(path.Child("service"), s.Name, s.Namespace, s.Path, ptr.Deref(s.Port, 443))
}
