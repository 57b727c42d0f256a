// Package expression compiles the CEL expressions of admission: the match conditions of webhooks, and validating
// policies. The environment is Kubernetes' own and is made when the first expression is, since it is large.
package expression

import (
	"sync"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

var base = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

var plain = sync.OnceValue(func() plugincel.Compiler { return plugincel.NewCompiler(base()) })

var conditions = sync.OnceValue(func() plugincel.ConditionCompiler { return plugincel.NewConditionCompiler(base()) })

// accessor is an expression with the types that it may have.
type accessor struct {
	text  string
	types []*cel.Type
}

func (a *accessor) GetExpression() string    { return a.text }
func (a *accessor) ReturnTypes() []*cel.Type { return a.types }

// variable is a named expression of a policy.
type variable struct {
	accessor
	name string
}

func (v *variable) GetName() string { return v.name }

var (
	isBool   = []*cel.Type{cel.BoolType}
	isString = []*cel.Type{cel.StringType}
	isNote   = []*cel.Type{cel.StringType, cel.NullType}
	isAny    = []*cel.Type{cel.AnyType, cel.DynType}
)

// Error is what is wrong with an expression.
type Error struct{ Detail string }

func (e *Error) Error() string { return e.Detail }

func problem(r plugincel.CompilationResult) error {
	if r.Error == nil {
		return nil
	}
	return &Error{r.Error.Detail}
}

// CheckCondition says what is wrong with a match condition of a webhook.
func CheckCondition(text string) error {
	return problem(plain().CompileCELExpression(&accessor{text, isBool}, plugincel.OptionalVariableDeclarations{HasAuthorizer: true}, environment.NewExpressions))
}

// Conditions compiles the match conditions of a webhook. kind is "mutating" or "validating".
func Conditions(list []admissionregistrationv1.MatchCondition, fail *admissionregistrationv1.FailurePolicyType, kind, name string) matchconditions.Matcher {
	return matchconditions.NewMatcher(conditions().CompileCondition(matchers(list), plugincel.OptionalVariableDeclarations{HasAuthorizer: true},
		environment.StoredExpressions), fail, "webhook", kind, name)
}

func matchers(list []admissionregistrationv1.MatchCondition) []plugincel.ExpressionAccessor {
	out := make([]plugincel.ExpressionAccessor, len(list))
	for i := range list {
		out[i] = (*matchconditions.MatchCondition)(&list[i])
	}
	return out
}

// Policy is a compiled ValidatingAdmissionPolicy: an evaluator for each of its lists. Conditions is nil when there
// are none. All of them are evaluated in the Context of the policy.
type Policy struct {
	Conditions  matchconditions.Matcher
	Validations plugincel.ConditionEvaluator
	Messages    plugincel.ConditionEvaluator // by validation; without an expression the result is empty
	Annotations plugincel.ConditionEvaluator
}

func policyVariables(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) plugincel.OptionalVariableDeclarations {
	return plugincel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
}

// Compile compiles a stored policy. What does not compile fails when it is evaluated, as the policy's failure policy
// says.
func Compile(p *admissionregistrationv1.ValidatingAdmissionPolicy) (*Policy, error) {
	c, err := plugincel.NewCompositedCompiler(base())
	if err != nil {
		return nil, err
	}
	vars := policyVariables(&p.Spec)
	for _, v := range p.Spec.Variables {
		c.CompileAndStoreVariable(&variable{accessor{v.Expression, isAny}, v.Name}, vars, environment.StoredExpressions)
	}
	out := &Policy{}
	if len(p.Spec.MatchConditions) > 0 {
		compiled := c.CompileCondition(matchers(p.Spec.MatchConditions), vars, environment.StoredExpressions)
		out.Conditions = matchconditions.NewMatcher(compiled, p.Spec.FailurePolicy, "policy", "validate", p.Name)
	}
	validations := make([]plugincel.ExpressionAccessor, len(p.Spec.Validations))
	messages := make([]plugincel.ExpressionAccessor, len(p.Spec.Validations))
	for i, v := range p.Spec.Validations {
		validations[i] = &accessor{v.Expression, isBool}
		if v.MessageExpression != "" {
			messages[i] = &accessor{v.MessageExpression, isString}
		}
	}
	annotations := make([]plugincel.ExpressionAccessor, len(p.Spec.AuditAnnotations))
	for i, a := range p.Spec.AuditAnnotations {
		annotations[i] = &accessor{a.ValueExpression, isNote}
	}
	out.Validations = c.CompileCondition(validations, vars, environment.StoredExpressions)
	out.Annotations = c.CompileCondition(annotations, vars, environment.StoredExpressions)
	out.Messages = c.CompileCondition(messages, plugincel.OptionalVariableDeclarations{HasParams: vars.HasParams}, environment.StoredExpressions)
	return out, nil
}

// Checker says what is wrong with the expressions of one policy that is written. Variables are checked in order,
// before what uses them.
type Checker struct {
	composed *plugincel.CompositedCompiler // nil for a policy without variables
	vars     plugincel.OptionalVariableDeclarations
}

// NewChecker returns the checker of a policy.
func NewChecker(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) (*Checker, error) {
	c := &Checker{vars: policyVariables(spec)}
	var err error
	if len(spec.Variables) > 0 {
		c.composed, err = plugincel.NewCompositedCompiler(base())
	}
	return c, err
}

// Variable checks a variable and makes it known to what follows.
func (c *Checker) Variable(name, text string) error {
	return problem(c.composed.CompileAndStoreVariable(&variable{accessor{text, isAny}, name}, c.vars, environment.NewExpressions))
}

// Condition checks a match condition, which knows no variables.
func (c *Checker) Condition(text string) error {
	return problem(plain().CompileCELExpression(&accessor{text, isBool}, c.vars, environment.NewExpressions))
}

// Bool checks a validation.
func (c *Checker) Bool(text string) error { return c.check(&accessor{text, isBool}, c.vars) }

// Message checks a message expression, which knows no authorizer.
func (c *Checker) Message(text string) error {
	return c.check(&accessor{text, isString}, plugincel.OptionalVariableDeclarations{HasParams: c.vars.HasParams})
}

// Annotation checks the value of an audit annotation.
func (c *Checker) Annotation(text string) error { return c.check(&accessor{text, isNote}, c.vars) }

func (c *Checker) check(a *accessor, vars plugincel.OptionalVariableDeclarations) error {
	if c.composed == nil {
		return problem(plain().CompileCELExpression(a, vars, environment.NewExpressions))
	}
	return problem(c.composed.CompileCELExpression(a, vars, environment.NewExpressions))
}
