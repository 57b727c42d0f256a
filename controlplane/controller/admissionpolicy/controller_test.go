package admissionpolicy_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/admissionpolicy"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const gaugeDefinition = `
metadata: {name: gauges.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gauges, kind: Gauge}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
`

const deployments = "{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}"

// TestTypes finds where the expressions of policies do not fit the types that their rules name.
func TestTypes(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	log := slog.New(slog.DiscardHandler)
	plane.Go(t, func(ctx context.Context) error {
		return loop.Run(ctx, e.Client, log, admissionpolicy.New(e.Client, e.Registry.Kinds(), e.Server.Schema, log))
	})
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(gaugeDefinition), crd); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), e.Client, crd); err != nil {
		t.Fatal(err)
	}
	e.Eventually("the definition is served", func() bool {
		return e.Registry.Kinds().ByKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Gauge"}) != nil
	})
	for name, tc := range map[string]struct {
		rule, spec string
		want       []string // field and warning of each, by turns
	}{
		"fits": {deployments, `validations: [{expression: "object.spec.replicas > 1 && object.metadata.name != 'x' && object.spec.strategy.rollingUpdate.maxSurge == 1", messageExpression: "oldObject.spec.template.spec.containers[0].image + request.userInfo.username"},
			{expression: "namespaceObject.metadata.labels['a'] == 'b' && authorizer.group('').resource('pods').check('get').allowed()"}]`, nil},
		"fields": {deployments, `validations: [{expression: "true"}, {expression: "object.spec.replica > 1", messageExpression: "string(object.name)"}]`, []string{
			"spec.validations[1].expression", "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n | object.spec.replica > 1\n | ...........^\n",
			"spec.validations[1].messageExpression", "apps/v1, Kind=Deployment: ERROR: <input>:1:14: undefined field 'name'\n | string(object.name)\n | .............^\n"}},
		"types":     {deployments, `validations: [{expression: "object.spec.replicas > 'x'"}]`, []string{"spec.validations[0].expression", "found no matching overload for '_>_' applied to '(int, string)'"}},
		"variables": {deployments, `variables: [{name: count, expression: "object.spec.replicas"}], validations: [{expression: "variables.count + 1 > 1"}, {expression: "variables.count == 'x'"}]`, []string{"spec.validations[1].expression", "no matching overload for '_==_' applied to '(int, string)'"}},
		"one of two": {"{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [statefulsets, deployments, deployments/scale]}",
			`validations: [{expression: "object.spec.serviceName == 'a'"}, {expression: "object.spec.replicas == 1"}, {expression: "object.a == 1"}]`, []string{
				"spec.validations[0].expression", "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'serviceName'",
				"spec.validations[2].expression", "......^\n\napps/v1, Kind=StatefulSet: ERROR"}},
		"virtual": {"{apiGroups: ['', authentication.k8s.io], apiVersions: [v1], operations: [CREATE], resources: [bindings, tokenreviews, pods/binding]}", `validations: [{expression: "object.spec.token == 'x' && object.metadata.name != ''"}]`,
			[]string{"spec.validations[0].expression", "/v1, Kind=Binding: ERROR: <input>:1:7: undefined field 'spec'"}},
		"wildcards": {"{apiGroups: ['*'], apiVersions: [v1], operations: [CREATE], resources: [deployments]}", `validations: [{expression: "object.nothing == 1"}]`, nil},
		"unknown":   {"{apiGroups: [example.org], apiVersions: [v1], operations: [CREATE], resources: [things]}", `validations: [{expression: "object.nothing == 1"}]`, nil},
		"params":    {deployments, `paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: "params.data['a'] == object.metadata.name"}, {expression: "params.spec == 'x'"}]`, []string{"spec.validations[1].expression", "undefined field 'spec'"}},
		"custom": {"{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [gauges]}",
			`paramKind: {apiVersion: example.com/v1, kind: Gauge}, validations: [{expression: "object.spec.size < params.spec.size && object.metadata.name != ''"}, {expression: "object.spec.width == 1"}]`,
			[]string{"spec.validations[1].expression", "example.com/v1, Kind=Gauge: ERROR: <input>:1:12: undefined field 'width'"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &admissionregistrationv1.ValidatingAdmissionPolicy{}
			if err := yaml.UnmarshalStrict([]byte("metadata: {name: "+strings.ReplaceAll(name, " ", "-")+"}\nspec: {matchConstraints: {resourceRules: ["+tc.rule+"]}, "+tc.spec+"}"), p); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Create(t.Context(), e.Client, p); err != nil {
				t.Fatal(err)
			}
			check(t, observed(t, e, p.Name, 1), tc.want)
		})
	}

	p := observed(t, e, "types", 1).DeepCopy()
	p.Spec.Validations[0].Expression = "object.spec.replicas > 2"
	if _, err := client.Update(t.Context(), e.Client, p); err != nil {
		t.Fatal(err)
	}
	check(t, observed(t, e, "types", 2), nil)
}

func check(t *testing.T, p *admissionregistrationv1.ValidatingAdmissionPolicy, want []string) {
	t.Helper()
	if p.Status.TypeChecking == nil || len(p.Status.TypeChecking.ExpressionWarnings) != len(want)/2 {
		t.Fatalf("found %+v", p.Status.TypeChecking)
	}
	for i, got := range p.Status.TypeChecking.ExpressionWarnings {
		if got.FieldRef != want[2*i] || !strings.Contains(got.Warning, want[2*i+1]) {
			t.Errorf("%s: %q\nwant %s: %q", got.FieldRef, got.Warning, want[2*i], want[2*i+1])
		}
	}
}

// observed returns a policy when the controller has looked at a generation of it.
func observed(t *testing.T, e *apitest.Env, name string, generation int64) *admissionregistrationv1.ValidatingAdmissionPolicy {
	t.Helper()
	var p *admissionregistrationv1.ValidatingAdmissionPolicy
	e.Eventually("the policy is observed", func() bool {
		var err error
		if p, err = client.Get[*admissionregistrationv1.ValidatingAdmissionPolicy](t.Context(), e.Client, "", name); err != nil {
			t.Fatal(err)
		}
		return p.Status.ObservedGeneration == generation
	})
	return p
}
