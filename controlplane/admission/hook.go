package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
)

// hook is one webhook of a configuration, ready to be matched and called.
type hook struct {
	name        string
	mutating    bool
	target      webhook.Target
	rules       rules
	ignore      bool // its failures
	namespaces  labels.Selector
	objects     labels.Selector
	sideEffects bool // also on a dry run
	timeout     time.Duration
	version     string                  // of the AdmissionReviews that it is sent; "": it takes none that there is
	conditions  matchconditions.Matcher // nil: none
	reinvoke    bool
	broken      error // why it can not be matched
}

// mutatingHooks makes the webhooks of a configuration.
func mutatingHooks(c *admissionregistrationv1.MutatingWebhookConfiguration) []*hook {
	out := make([]*hook, len(c.Webhooks))
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		out[i] = newHook(true, &admissionregistrationv1.ValidatingWebhook{
			Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
			NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects, TimeoutSeconds: h.TimeoutSeconds,
			AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
		})
		out[i].reinvoke = h.ReinvocationPolicy != nil && *h.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy
	}
	return out
}

func validatingHooks(c *admissionregistrationv1.ValidatingWebhookConfiguration) []*hook {
	out := make([]*hook, len(c.Webhooks))
	for i := range c.Webhooks {
		out[i] = newHook(false, &c.Webhooks[i])
	}
	return out
}

// defaultHookTimeout is that of a webhook that was stored without.
const defaultHookTimeout = 10 * time.Second

func newHook(mutating bool, h *admissionregistrationv1.ValidatingWebhook) *hook {
	out := &hook{
		name: h.Name, mutating: mutating, rules: newRules(unnamed(h.Rules), h.MatchPolicy), timeout: defaultHookTimeout,
		ignore:      h.FailurePolicy != nil && *h.FailurePolicy == admissionregistrationv1.Ignore,
		sideEffects: h.SideEffects == nil || *h.SideEffects != admissionregistrationv1.SideEffectClassNone && *h.SideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun,
		version:     reviewVersion(h.AdmissionReviewVersions),
		target:      webhook.Target{CABundle: h.ClientConfig.CABundle},
	}
	if h.TimeoutSeconds != nil {
		out.timeout = time.Duration(*h.TimeoutSeconds) * time.Second
	}
	if h.ClientConfig.URL != nil {
		out.target.URL = *h.ClientConfig.URL
	}
	if s := h.ClientConfig.Service; s != nil {
		out.target.Service = webhook.NewService(s.Namespace, s.Name, s.Path, s.Port)
	}
	var errs [2]error
	out.namespaces, errs[0] = selectorOf(h.NamespaceSelector)
	out.objects, errs[1] = selectorOf(h.ObjectSelector)
	out.broken = errors.Join(errs[:]...)
	if len(h.MatchConditions) > 0 {
		what := "validating"
		if mutating {
			what = "mutating"
		}
		out.conditions = expression.Conditions(h.MatchConditions, h.FailurePolicy, what, h.Name)
	}
	return out
}

// reviewVersion returns the version of AdmissionReview to send to a webhook that takes those listed: the first that there
// is. v1beta1 has the same fields as v1.
func reviewVersion(taken []string) string {
	for _, v := range taken {
		if v == admissionv1.SchemeGroupVersion.Version || v == admissionv1beta1.SchemeGroupVersion.Version {
			return v
		}
	}
	return ""
}

func unnamed(rules []admissionregistrationv1.RuleWithOperations) []admissionregistrationv1.NamedRuleWithOperations {
	out := make([]admissionregistrationv1.NamedRuleWithOperations, len(rules))
	for i := range rules {
		out[i].RuleWithOperations = rules[i]
	}
	return out
}

// selectorOf reads a selector of which nil selects everything.
func selectorOf(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// wants returns the request as the webhook, whose rules name it in version k, is to see it; nil when the webhook does not
// want it.
func (h *hook) wants(ctx context.Context, c client.Client, s *subject, k *kind.Kind, allowed Authorizer) (*subject, error) {
	if h.broken != nil {
		return nil, apierrors.NewInternalError(h.broken)
	}
	if !s.matchObject(h.objects) {
		return nil, nil
	}
	if ok, err := s.matchNamespace(ctx, c, h.namespaces); err != nil || !ok {
		return nil, err
	}
	seen, err := s.in(ctx, k)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if h.conditions == nil {
		return seen, nil
	}
	result := h.conditions.Match(ctx, seen.attributes(), nil, authorizer{allowed})
	if result.Error != nil {
		return nil, forbidden(s.request, result.Error)
	}
	if !result.Matches {
		return nil, nil
	}
	return seen, nil
}

// failure is a call that brought no answer to go by; the webhook's failure policy says what that means.
type failure struct {
	hook   string
	reason error
}

func (f *failure) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", f.hook, f.reason)
}
func (f *failure) Unwrap() error { return f.reason }

// ask calls the webhook. The error is a *failure, or the refusal.
func (h *hook) ask(ctx context.Context, caller *webhook.Caller, s *subject) (*admissionv1.AdmissionResponse, error) {
	if s.request.DryRun && h.sideEffects {
		reason := fmt.Sprintf("admission webhook %q does not support dry run", h.name)
		return nil, apierrors.NewBadRequest(reason)
	}
	if h.version == "" {
		return nil, &failure{h.name, errors.New("could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)")}
	}
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	request := s.review()
	request.UID = uuid.NewUUID()
	typ := metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: schema.GroupVersion{Group: admissionv1.GroupName, Version: h.version}.String()}
	var answer admissionv1.AdmissionReview
	if err := caller.Call(ctx, h.target, &admissionv1.AdmissionReview{TypeMeta: typ, Request: request}, &answer); err != nil {
		return nil, &failure{h.name, fmt.Errorf("failed to call webhook: %w", err)}
	}
	if err := h.checkAnswer(&answer, typ, request); err != nil {
		return nil, &failure{h.name, fmt.Errorf("received invalid webhook response: %w", err)}
	}
	return answer.Response, nil
}

// checkAnswer says what is wrong with an answer. One of v1beta1 need not say what it is and what it answers, its patches
// need no type, and what a validating webhook says of patches is not heard: so it was when v1beta1 was made.
func (h *hook) checkAnswer(a *admissionv1.AdmissionReview, want metav1.TypeMeta, request *admissionv1.AdmissionRequest) error {
	if a.Response == nil {
		return errors.New("webhook response was absent")
	}
	r := a.Response
	if h.version == admissionv1beta1.SchemeGroupVersion.Version {
		r.PatchType = nil
		if !h.mutating {
			r.Patch = nil
		} else if len(r.Patch) > 0 {
			r.PatchType = new(admissionv1.PatchTypeJSONPatch)
		}
		return nil
	}
	switch {
	case r.UID != request.UID:
		return fmt.Errorf("expected response.uid=%q, got %q", request.UID, r.UID)
	case a.TypeMeta != want:
		return fmt.Errorf("expected webhook response of %s, got %s", want.GroupVersionKind(), a.GroupVersionKind())
	case !h.mutating && len(r.Patch) > 0:
		return errors.New("validating webhook may not return response.patch")
	case !h.mutating && r.PatchType != nil:
		return errors.New("validating webhook may not return response.patchType")
	case len(r.Patch) > 0 && r.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(r.Patch) == 0 && r.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	}
	return nil
}

// heard passes on what a webhook says beside its verdict, and returns its refusal.
func (h *hook) heard(ctx context.Context, r *Request, a *admissionv1.AdmissionResponse) error {
	for key, value := range a.AuditAnnotations {
		kind.Annotate(ctx, h.name+"/"+key, value)
	}
	for _, text := range a.Warnings {
		r.warn(text)
	}
	if a.Allowed {
		return nil
	}
	status := metav1.Status{}
	if a.Result != nil {
		status = *a.Result
	}
	if status.Code < http.StatusBadRequest {
		status.Code = http.StatusBadRequest
	}
	if status.Status == "" || status.Status == metav1.StatusSuccess {
		status.Status = metav1.StatusFailure
	}
	denied := fmt.Sprintf("admission webhook %q denied the request", h.name)
	switch {
	case status.Message != "":
		status.Message = denied + ": " + status.Message
	case status.Reason != "":
		status.Message = denied + ": " + string(status.Reason)
	default:
		status.Message = denied + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// failed says what a failed call means: nil where the webhook's failures are ignored.
func (h *hook) failed(ctx context.Context, f *failure, note string) error {
	if !h.ignore {
		return apierrors.NewInternalError(f)
	}
	if ctx.Err() != nil {
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	}
	kind.Annotate(ctx, note, h.name)
	return nil
}
