package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/expression"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// validatingPolicies holds requests against ValidatingAdmissionPolicies where a binding puts them in force.
type validatingPolicies struct {
	silent
	client   Reader
	kinds    func() *kind.Table
	allowed  Authorizer
	policies compiled[*compiledPolicy]
	bindings compiled[*policyBinding]
}

// compiledPolicy is a ValidatingAdmissionPolicy that is ready to be used.
type compiledPolicy struct {
	*admissionregistrationv1.ValidatingAdmissionPolicy
	match    matchResources
	compiled *expression.Policy
	broken   error
}

type policyBinding struct {
	*admissionregistrationv1.ValidatingAdmissionPolicyBinding
	match  matchResources
	params labels.Selector // of paramRef; nil: none
	broken error
}

func newValidatingPolicies(c Reader, o Options) *validatingPolicies {
	return &validatingPolicies{client: c, kinds: o.Kinds, allowed: o.Authorizer,
		policies: compiled[*compiledPolicy]{kind: kind.Of[*admissionregistrationv1.ValidatingAdmissionPolicy](), make: newPolicy},
		bindings: compiled[*policyBinding]{kind: kind.Of[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](), make: newPolicyBinding},
	}
}

func newPolicy(obj kind.Object) *compiledPolicy {
	p := &compiledPolicy{ValidatingAdmissionPolicy: obj.(*admissionregistrationv1.ValidatingAdmissionPolicy)}
	if p.match, p.broken = newMatchResources(p.Spec.MatchConstraints); p.broken == nil {
		p.compiled, p.broken = expression.Compile(p.ValidatingAdmissionPolicy)
	}
	return p
}

func newPolicyBinding(obj kind.Object) *policyBinding {
	b := &policyBinding{ValidatingAdmissionPolicyBinding: obj.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)}
	b.match, b.broken = newMatchResources(b.Spec.MatchResources)
	if b.broken == nil && b.Spec.ParamRef != nil && b.Spec.ParamRef.Selector != nil {
		b.params, b.broken = metav1.LabelSelectorAsSelector(b.Spec.ParamRef.Selector)
	}
	return b
}

func (p *compiledPolicy) ignoresFailures() bool {
	return p.Spec.FailurePolicy != nil && *p.Spec.FailurePolicy == admissionregistrationv1.Ignore
}

func (*validatingPolicies) Name() string { return "ValidatingAdmissionPolicy" }

func (p *validatingPolicies) Validate(ctx context.Context, r *Request) error {
	bindings, err := p.bindings.get(ctx, p.client())
	if err != nil || len(bindings) == 0 || ofPolicies(r) || seenByBody(r) {
		return err
	}
	policies, err := p.policies.get(ctx, p.client())
	if err != nil {
		return err
	}
	v := &verdict{plugin: p}
	for _, policy := range policies {
		k := policy.match.version(r, p.kinds())
		if k == nil {
			continue
		}
		bound := slices.DeleteFunc(slices.Clone(bindings), func(b *policyBinding) bool { return b.Spec.PolicyName != policy.Name })
		if len(bound) == 0 {
			continue
		}
		if v.subject == nil {
			v.subject = subjectOf(r)
		}
		if err := v.policy(ctx, policy, k, bound); err != nil {
			return err
		}
	}
	if v.subject == nil {
		return nil
	}
	v.publish(ctx)
	return v.refusal
}

// verdict of all policies over one request.
type verdict struct {
	plugin  *validatingPolicies
	subject *subject // in the version of the request
	notes   policyNotes
	failed  []auditedFailure
	refusal error // the first
}

// auditedFailure is an element of the audit annotation of failures.
type auditedFailure struct {
	Message           string                                     `json:"message"`
	Policy            string                                     `json:"policy"`
	Binding           string                                     `json:"binding"`
	ExpressionIndex   int                                        `json:"expressionIndex"`
	ValidationActions []admissionregistrationv1.ValidationAction `json:"validationActions"`
}

// maxAuditedFailures bounds the annotation.
const maxAuditedFailures = 50

// policy adds what one policy says of the request, which its rules name in version k, by its bindings. The error is one
// of the server.
func (v *verdict) policy(ctx context.Context, p *compiledPolicy, k *kind.Kind, bindings []*policyBinding) error {
	if p.broken != nil {
		v.misconfigured(p, nil, p.broken)
		return nil
	}
	if ok, err := p.match.selects(ctx, v.plugin.client(), v.subject); err != nil || !ok {
		if err != nil {
			v.misconfigured(p, nil, err)
		}
		return nil
	}
	v.notes = policyNotes{}
	for _, b := range bindings {
		if b.match.version(v.subject.request, v.plugin.kinds()) == nil {
			continue
		}
		if err := v.binding(ctx, p, k, b); err != nil {
			return err
		}
	}
	v.notes.publish(ctx, p.Name)
	return nil
}

// binding adds what a policy says by one binding, whose rules name the request.
func (v *verdict) binding(ctx context.Context, p *compiledPolicy, k *kind.Kind, b *policyBinding) error {
	if b.broken != nil {
		v.misconfigured(p, b, b.broken)
		return nil
	}
	if ok, err := b.match.selects(ctx, v.plugin.client(), v.subject); err != nil || !ok {
		if err != nil {
			v.misconfigured(p, b, err)
		}
		return nil
	}
	seen, err := v.subject.in(ctx, k)
	if err != nil {
		v.misconfigured(p, nil, err)
		return nil
	}
	params, err := v.plugin.paramsOf(ctx, p, b, v.subject)
	if err != nil {
		v.misconfigured(p, b, err)
		return nil
	}
	for _, param := range params {
		if err := v.evaluate(ctx, seen, p, b, param); err != nil {
			return err
		}
	}
	return nil
}

// misconfigured adds a policy or binding that can not be evaluated.
func (v *verdict) misconfigured(p *compiledPolicy, b *policyBinding, err error) {
	switch {
	case p.ignoresFailures():
	case b == nil:
		v.deny(p, b, decision{message: "failed to configure policy: " + err.Error()})
	default:
		v.deny(p, b, decision{message: "failed to configure binding: " + err.Error()})
	}
}

// decision is what one validation says against a request.
type decision struct {
	index   int
	message string
	reason  metav1.StatusReason
}

// act does with a decision what the binding wants.
func (v *verdict) act(p *compiledPolicy, b *policyBinding, d decision) {
	for _, action := range b.Spec.ValidationActions {
		switch action {
		case admissionregistrationv1.Deny:
			v.deny(p, b, d)
		case admissionregistrationv1.Warn:
			v.subject.request.warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", p.Name, b.Name, d.message))
		case admissionregistrationv1.Audit:
			v.failed = append(v.failed, auditedFailure{d.message, p.Name, b.Name, d.index, b.Spec.ValidationActions})
		}
	}
}

var reasonCodes = map[metav1.StatusReason]int32{
	metav1.StatusReasonForbidden: http.StatusForbidden, metav1.StatusReasonUnauthorized: http.StatusUnauthorized,
	metav1.StatusReasonRequestEntityTooLarge: http.StatusRequestEntityTooLarge, metav1.StatusReasonInvalid: http.StatusUnprocessableEntity,
}

func (v *verdict) deny(p *compiledPolicy, b *policyBinding, d decision) {
	if v.refusal != nil {
		return
	}
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", p.Name, d.message)
	if b != nil {
		message = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", p.Name, b.Name, d.message)
	}
	if d.reason == "" {
		d.reason = metav1.StatusReasonInvalid
	}
	err := forbidden(v.subject.request, errors.New(message))
	err.ErrStatus.Reason, err.ErrStatus.Code = d.reason, reasonCodes[d.reason]
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	v.refusal = err
}

func (v *verdict) publish(ctx context.Context) {
	if len(v.failed) == 0 {
		return
	}
	data, err := json.Marshal(v.failed[:min(len(v.failed), maxAuditedFailures)])
	if err == nil {
		kind.Annotate(ctx, "validation.policy.admission.k8s.io/validation_failure", string(data))
	}
}

// policyNotes are the audit annotations of a policy by key; values of several bindings are joined.
type policyNotes map[string][]string

// maxPolicyNote bounds one value in bytes.
const maxPolicyNote = 10 << 10

func (n policyNotes) add(key, value string) {
	value = value[:min(len(value), maxPolicyNote)]
	if !slices.Contains(n[key], value) {
		n[key] = append(n[key], value)
	}
}

func (n policyNotes) publish(ctx context.Context, policy string) {
	for key, values := range n {
		kind.Annotate(ctx, policy+"/"+key, strings.Join(values, ", "))
	}
}

// matchResources says which requests a policy or a binding is about; nil is about all.
type matchResources struct {
	spec       *admissionregistrationv1.MatchResources
	rules      rules
	excluded   rules
	namespaces labels.Selector
	objects    labels.Selector
}

func newMatchResources(spec *admissionregistrationv1.MatchResources) (matchResources, error) {
	m := matchResources{spec: spec}
	if spec == nil {
		return m, nil
	}
	m.rules, m.excluded = newRules(spec.ResourceRules, spec.MatchPolicy), newRules(spec.ExcludeResourceRules, spec.MatchPolicy)
	var errs [2]error
	m.namespaces, errs[0] = selectorOf(spec.NamespaceSelector)
	m.objects, errs[1] = selectorOf(spec.ObjectSelector)
	return m, errors.Join(errs[:]...)
}

// version returns the version in which the rules name a request, nil when they do not; it needs no subject. A binding
// without rules takes its policy's.
func (m matchResources) version(r *Request, kinds *kind.Table) *kind.Kind {
	switch {
	case m.spec == nil:
		return r.Kind
	case m.excluded.match(r, kinds) != nil:
		return nil
	case len(m.spec.ResourceRules) == 0:
		return r.Kind
	}
	return m.rules.match(r, kinds)
}

// selects says whether the selectors let through what the rules name.
func (m matchResources) selects(ctx context.Context, c client.Client, s *subject) (bool, error) {
	if m.spec == nil {
		return true, nil
	}
	if !s.matchObject(m.objects) {
		return false, nil
	}
	return s.matchNamespace(ctx, c, m.namespaces)
}

// ofPolicies says whether a request is about policies themselves, which could lock everybody out. Webhooks are theirs to judge.
func ofPolicies(r *Request) bool {
	return r.Kind.Group == admissionregistrationv1.GroupName && strings.HasPrefix(r.Kind.Plural, "validatingadmissionpolic")
}
