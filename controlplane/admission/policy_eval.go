package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/types"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// paramObject is a parameter of a policy with its kind, or nil for none.
type paramObject = runtime.Object

// paramsOf returns the objects that a policy is evaluated with, once each; one nil when it takes none.
func (p *validatingPolicies) paramsOf(ctx context.Context, policy *compiledPolicy, b *policyBinding, s *subject) ([]paramObject, error) {
	ref, want := b.Spec.ParamRef, policy.Spec.ParamKind
	if want == nil || ref == nil {
		return []paramObject{nil}, nil
	}
	gvk := schema.FromAPIVersionAndKind(want.APIVersion, want.Kind)
	k := p.kinds().ByKind(gvk)
	if k == nil {
		return nil, fmt.Errorf("paramKind kind `%v` not known", want.String())
	}
	namespace := ""
	switch {
	case !k.Namespaced && ref.Namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case k.Namespaced && ref.Namespace != "":
		namespace = ref.Namespace
	case k.Namespaced && s.request.Namespace == "":
		return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	case k.Namespaced:
		namespace = s.request.Namespace
	}
	var found []kind.Object
	var err error
	if ref.Name != "" {
		var one kind.Object
		if one, err = p.client().Get(ctx, k, namespace, ref.Name); err == nil {
			found = []kind.Object{one}
		}
	} else {
		found, err = p.client().List(ctx, k, client.Query{Namespace: namespace, Labels: b.params})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionregistrationv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	out := make([]paramObject, len(found))
	for i, obj := range found {
		param := obj.DeepCopyObject()
		param.GetObjectKind().SetGroupVersionKind(gvk)
		out[i] = param
	}
	return out, nil
}

// input is what the expressions of one policy see.
type input struct {
	ctx       context.Context
	subject   *subject
	params    runtime.Object
	namespace *corev1.Namespace
	allowed   Authorizer
}

// run evaluates a list of expressions within a budget, and returns what is left of it.
func (in input) run(of plugincel.ConditionEvaluator, budget int64, authorized bool) ([]plugincel.EvaluationResult, int64, error) {
	bindings := plugincel.OptionalVariableBindings{VersionedParams: in.params}
	if authorized {
		bindings.Authorizer = authorizer{in.allowed}
	}
	attrs := in.subject.attributes()
	request := plugincel.CreateAdmissionRequest(attrs.Attributes, metav1.GroupVersionResource(in.subject.resource()), metav1.GroupVersionKind(in.subject.kind))
	return of.ForInput(in.ctx, attrs, request, bindings, plugincel.CreateNamespaceObject(in.namespace), budget)
}

// evaluate adds what a policy says of the request, in the version of its rules, with one parameter.
func (v *verdict) evaluate(ctx context.Context, s *subject, p *compiledPolicy, b *policyBinding, params runtime.Object) error {
	in := input{ctx: ctx, subject: s, params: params, allowed: v.plugin.allowed}
	if r := s.request; r.Kind.Namespaced && r.Namespace != "" {
		var err error
		if in.namespace, err = client.Get[*corev1.Namespace](ctx, v.plugin.client(), "", r.Namespace); err != nil {
			return err
		}
	}
	fail := func(index int, message string) {
		if !p.ignoresFailures() {
			v.act(p, b, decision{index: index, message: message})
		}
	}
	if p.compiled.Conditions != nil {
		result := p.compiled.Conditions.Match(ctx, s.attributes(), params, authorizer{in.allowed})
		if result.Error != nil {
			fail(0, result.Error.Error())
			return nil
		}
		if !result.Matches {
			return nil
		}
	}
	results, left, err := in.run(p.compiled.Validations, celconfig.RuntimeCELCostBudget, true)
	if err != nil {
		fail(0, err.Error())
		return nil
	}
	var messages []plugincel.EvaluationResult
	var messagesErr error
	if slices.ContainsFunc(results, func(r plugincel.EvaluationResult) bool { return r.Error == nil && r.EvalResult != types.True }) {
		messages, _, messagesErr = in.run(p.compiled.Messages, left, false)
	}
	for i, result := range results {
		switch {
		case result.Error != nil:
			fail(i, result.Error.Error())
		case result.EvalResult == types.True:
		case errors.Is(messagesErr, apiservercel.ErrInternal) || errors.Is(messagesErr, apiservercel.ErrOutOfBudget):
			fail(i, fmt.Sprintf("failed messageExpression: %s", messagesErr))
		default:
			validation := p.Spec.Validations[i]
			d := decision{index: i, message: messageOf(validation, messages, i)}
			if validation.Reason != nil {
				d.reason = *validation.Reason
			}
			v.act(p, b, d)
		}
	}
	return v.annotations(in, p, b)
}

// messageOf is what a failed validation says: by its expression, else as it is written, else the expression itself.
func messageOf(v admissionregistrationv1.Validation, messages []plugincel.EvaluationResult, i int) string {
	if i < len(messages) && messages[i].Error == nil && messages[i].EvalResult != nil {
		text, _ := messages[i].EvalResult.Value().(string)
		text = strings.TrimSpace(text)
		if text != "" && len(text) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes && !strings.Contains(text, "\n") {
			return text
		}
	}
	if v.Message != "" {
		return strings.TrimSpace(v.Message)
	}
	return "failed expression: " + strings.TrimSpace(v.Expression)
}

// annotations adds the audit annotations of a policy. One that can not be made denies, unless failures are ignored.
func (v *verdict) annotations(in input, p *compiledPolicy, b *policyBinding) error {
	if len(p.Spec.AuditAnnotations) == 0 {
		return nil
	}
	deny := func(message string) {
		if !p.ignoresFailures() {
			v.deny(p, b, decision{message: message})
		}
	}
	results, _, err := in.run(p.compiled.Annotations, celconfig.RuntimeCELCostBudget, true)
	if err != nil {
		deny(err.Error())
		return nil
	}
	for i, result := range results {
		switch {
		case result.Error != nil:
			deny(result.Error.Error())
		case result.EvalResult.Type() == types.StringType:
			if text := strings.TrimSpace(result.EvalResult.Value().(string)); text != "" {
				v.notes.add(p.Spec.AuditAnnotations[i].Key, text)
			}
		case result.EvalResult.Type() != types.NullType:
			deny(fmt.Sprintf("valueExpression '%v' resulted in unsupported return type: %v. Return type must be either string or null.",
				p.Spec.AuditAnnotations[i].ValueExpression, result.EvalResult.Type()))
		}
	}
	return nil
}
