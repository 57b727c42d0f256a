package expression

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Schemas returns the schema of a kind, which refers to nothing outside of itself; nil for a kind that is not known.
type Schemas func(schema.GroupVersionKind) (*spec.Schema, error)

// TypeWarnings says, in Kubernetes' words, where the validations of a policy do not fit the types of its objects and
// parameters. Each is checked against every one of the kinds whose schema is known; nothing is wrong with what is not
// known. The error is of a schema that could not be had, and leaves its kind out.
func TypeWarnings(p *admissionregistrationv1.ValidatingAdmissionPolicy, kinds []schema.GroupVersionKind, schemas Schemas) ([]admissionregistrationv1.ExpressionWarning, error) {
	var failed error
	declare := func(gvk schema.GroupVersionKind, name string) *apiservercel.DeclType {
		s, err := schemas(gvk)
		if err != nil {
			failed = fmt.Errorf("cannot get schema of %s: %w", gvk, err)
		}
		if s == nil {
			return nil
		}
		if t := common.SchemaDeclType(&openapi.Schema{Schema: s}, true); t != nil {
			return t.MaybeAssignTypeName(name)
		}
		return nil
	}
	var params *apiservercel.DeclType
	if k := p.Spec.ParamKind; k != nil {
		params = declare(schema.FromAPIVersionAndKind(k.APIVersion, k.Kind), "params."+k.Kind)
	}
	var checkers []*typeChecker
	for _, gvk := range kinds {
		object := declare(gvk, gvk.Kind)
		if object == nil {
			continue
		}
		c, err := newTypeChecker(gvk, object, params, &p.Spec)
		if err != nil {
			return nil, err
		}
		checkers = append(checkers, c)
	}
	var out []admissionregistrationv1.ExpressionWarning
	check := func(at *field.Path, text string) {
		var found []string
		for _, c := range checkers {
			if err := c.compile(text); err != nil {
				found = append(found, fmt.Sprintf("%v: %v\n", c.gvk, err))
			}
		}
		if len(found) > 0 {
			out = append(out, admissionregistrationv1.ExpressionWarning{FieldRef: at.String(), Warning: strings.Join(found, "\n")})
		}
	}
	for i, v := range p.Spec.Validations {
		at := field.NewPath("spec", "validations").Index(i)
		check(at.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			check(at.Child("messageExpression"), v.MessageExpression)
		}
	}
	return out, failed
}

// typeChecker compiles expressions in which the object is of one kind.
type typeChecker struct {
	gvk      schema.GroupVersionKind
	compiler *plugincel.CompositedCompiler
}

func newTypeChecker(gvk schema.GroupVersionKind, object, params *apiservercel.DeclType, spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) (*typeChecker, error) {
	since := environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0)}
	declare := func(t *apiservercel.DeclType, names ...string) {
		of := cel.DynType
		if t != nil {
			of = t.CelType()
			since.DeclTypes = append(since.DeclTypes, t)
		}
		for _, name := range names {
			since.EnvOptions = append(since.EnvOptions, cel.Variable(name, of))
		}
	}
	declare(plugincel.BuildNamespaceType(), plugincel.NamespaceVarName)
	declare(plugincel.BuildRequestType(), plugincel.RequestVarName)
	declare(object, plugincel.ObjectVarName, plugincel.OldObjectVarName)
	if spec.ParamKind != nil {
		declare(params, plugincel.ParamsVarName)
	}
	since.EnvOptions = append(since.EnvOptions, cel.Variable("authorizer", library.AuthorizerType))
	env, err := base().Extend(since)
	if err != nil {
		return nil, err
	}
	c, err := plugincel.NewCompositedCompilerForTypeChecking(env)
	if err != nil {
		return nil, err
	}
	c.Compiler = typeCompiler{c}
	for _, v := range spec.Variables { // one that is wrong may be anything
		c.CompileAndStoreVariable(&variable{accessor{v.Expression, isAny}, v.Name}, plugincel.OptionalVariableDeclarations{}, environment.StoredExpressions)
	}
	return &typeChecker{gvk, c}, nil
}

func (c *typeChecker) compile(text string) error {
	return problem(c.compiler.CompileCELExpression(&accessor{text, isAny}, plugincel.OptionalVariableDeclarations{}, environment.StoredExpressions))
}

// typeCompiler compiles only as far as types are known, in the environment of all the variables so far.
type typeCompiler struct{ of *plugincel.CompositedCompiler }

func (c typeCompiler) CompileCELExpression(a plugincel.ExpressionAccessor, _ plugincel.OptionalVariableDeclarations, mode environment.Type) plugincel.CompilationResult {
	env, err := c.of.Env(mode)
	if err != nil {
		return plugincel.CompilationResult{Error: &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: fmt.Sprintf("type checking error: fail to build env: %v", err)}}
	}
	ast, issues := env.Compile(a.GetExpression())
	if issues != nil {
		return plugincel.CompilationResult{Error: &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: issues.String()}}
	}
	return plugincel.CompilationResult{OutputType: ast.OutputType()}
}
