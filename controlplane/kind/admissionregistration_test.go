package kind_test

import (
	"maps"
	"testing"
)

// vet is a policy that is good but for these fields.
func vet(fields string) string {
	return "{metadata: {name: p}, spec: {matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}, " + fields + "}}"
}

func init() {
	const (
		rule       = "{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}"
		storedRule = "{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods], scope: '*'}"
		hook       = "{metadata: {name: h}, webhooks: [{name: a.b.c, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {namespace: ns, name: s}}, rules: [" + rule + "]}]}"
	)
	stored := func(more string) string {
		return "{metadata: {name: h}, webhooks: [{name: a.b.c, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {namespace: ns, name: s, port: 443}}, rules: [" + storedRule + "], " +
			"failurePolicy: Fail, matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}, timeoutSeconds: 10" + more + "}]}"
	}
	const match = "matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}"
	maps.Copy(defaults, map[string]struct{ written, stored string }{
		"MutatingWebhookConfiguration":   {hook, stored(", reinvocationPolicy: Never")},
		"ValidatingWebhookConfiguration": {hook, stored("")},
		"ValidatingAdmissionPolicy": {"{metadata: {name: p}, spec: {matchConstraints: {resourceRules: [" + rule + "]}, validations: [{expression: 'true'}]}}",
			"{metadata: {name: p}, spec: {failurePolicy: Fail, matchConstraints: {" + match + ", resourceRules: [" + storedRule + "]}, validations: [{expression: 'true'}]}, status: {}}"},
		"ValidatingAdmissionPolicyBinding": {"{metadata: {name: b}, spec: {policyName: p, validationActions: [Deny], matchResources: {}}}",
			"{metadata: {name: b}, spec: {policyName: p, validationActions: [Deny], matchResources: {" + match + "}}}"},
	})
}

func TestValidationOfAdmissionRegistration(t *testing.T) {
	hook := func(fields string) string {
		return "{metadata: {name: h}, webhooks: [{name: a.b.c, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {url: 'https://a'}, " + fields + "}]}"
	}
	rule := func(fields string) string { return hook("rules: [{" + fields + "}]") }
	const policy, binding, webhooks = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"
	for _, c := range []struct {
		kind, name, yaml string
		want             []string
	}{
		{webhooks, "good", hook("matchConditions: [{name: a, expression: 'request.name == \"x\"'}], rules: [{apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*']}]"), nil},
		{webhooks, "empty", "{webhooks: [{name: a}]}", []string{"webhooks[0].name: " + invalid, "webhooks[0].admissionReviewVersions: " + required, "webhooks[0].sideEffects: " + required, "webhooks[0].clientConfig: " + required}},
		{webhooks, "values", hook("failurePolicy: Shrug, matchPolicy: Roughly, timeoutSeconds: 31, objectSelector: {matchLabels: {'a b': c}}"), []string{
			"webhooks[0].failurePolicy: " + notSupported, "webhooks[0].matchPolicy: " + notSupported, "webhooks[0].timeoutSeconds: " + invalid, "webhooks[0].objectSelector.matchLabels: " + invalid}},
		{webhooks, "conditions", hook("matchConditions: [{name: a, expression: 'nope'}, {name: a, expression: '1'}, {name: '', expression: ''}]"), []string{
			"webhooks[0].matchConditions[0].expression: " + invalid, "webhooks[0].matchConditions[1].expression: " + invalid, "webhooks[0].matchConditions[1].name: " + duplicate,
			"webhooks[0].matchConditions[2].expression: " + required, "webhooks[0].matchConditions[2].name: " + required}},
		{webhooks, "wildcards", rule("apiGroups: ['*', a], apiVersions: ['*', v1], operations: ['*', CREATE], resources: ['*', pods]"), []string{
			"webhooks[0].rules[0].apiGroups: " + invalid, "webhooks[0].rules[0].apiVersions: " + invalid, "webhooks[0].rules[0].operations: " + invalid, "webhooks[0].rules[0].resources: " + invalid}},
		{webhooks, "rule", rule("apiVersions: [''], operations: [READ], resources: [pods/*, pods/log], scope: Galaxy"), []string{
			"webhooks[0].rules[0].apiGroups: " + required, "webhooks[0].rules[0].apiVersions[0]: " + required, "webhooks[0].rules[0].operations[0]: " + notSupported,
			"webhooks[0].rules[0].resources[1]: " + invalid, "webhooks[0].rules[0].scope: " + notSupported}},
		{webhooks, "url", "{webhooks: [{name: a.b.c, admissionReviewVersions: [v7], sideEffects: Some, clientConfig: {url: 'http://u@a/?q#f'}}]}", []string{
			"webhooks[0].admissionReviewVersions: " + invalid, "webhooks[0].sideEffects: " + notSupported, "webhooks[0].clientConfig.url: " + invalid}},
		{webhooks, "service", "{webhooks: [{name: a.b.c, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {service: {path: a, port: 0}}}]}", []string{
			"webhooks[0].clientConfig.service.name: " + required, "webhooks[0].clientConfig.service.namespace: " + required,
			"webhooks[0].clientConfig.service.port: " + invalid, "webhooks[0].clientConfig.service.path: " + invalid}},
		{"MutatingWebhookConfiguration", "reinvocation", hook("reinvocationPolicy: Often"), []string{"webhooks[0].reinvocationPolicy: " + notSupported}},

		{policy, "good", vet("variables: [{name: a, expression: '1'}], validations: [{expression: 'variables.a == 1 && object.spec.x > 2', messageExpression: \"'no'\"}], auditAnnotations: [{key: k, valueExpression: 'null'}]"), nil},
		{policy, "empty", "{metadata: {name: p}, spec: {}}", []string{"spec.matchConstraints: " + required, "spec.validations: " + required, "spec.auditAnnotations: " + required}},
		{policy, "params", vet("paramKind: {apiVersion: 'a/b/c'}, validations: [{expression: 'params.a == 1'}]"), []string{"spec.paramKind.apiVersion: " + invalid, "spec.paramKind.kind: " + required}},
		{policy, "no params", vet("validations: [{expression: 'params.a == 1'}]"), []string{"spec.validations[0].expression: " + invalid}},
		{policy, "validations", vet("validations: [{expression: '1 + 1'}, {expression: ''}, {expression: 'true', messageExpression: '1', message: \"a\\nb\", reason: Whim}]"), []string{
			"spec.validations[0].expression: " + invalid, "spec.validations[1].expression: " + required,
			"spec.validations[2].messageExpression: " + invalid, "spec.validations[2].message: " + invalid, "spec.validations[2].reason: " + notSupported}},
		{policy, "variables", vet("variables: [{name: b, expression: 'variables.c'}, {name: 'for', expression: '1'}, {name: '', expression: ''}], validations: [{expression: 'true'}]"), []string{
			"spec.variables[0].expression: " + invalid, "spec.variables[1].name: " + invalid, "spec.variables[2].name: " + required, "spec.variables[2].expression: " + required}},
		{policy, "annotations", vet("auditAnnotations: [{key: 'a b', valueExpression: '1'}, {key: c, valueExpression: ''}]"), []string{
			"spec.auditAnnotations[0].key: " + invalid, "spec.auditAnnotations[0].valueExpression: " + invalid, "spec.auditAnnotations[1].valueExpression: " + required}},
		{binding, "empty", "{}", []string{"spec.policyName: " + required, "spec.validationActions: " + required}},
		{binding, "odd", "spec: {policyName: A, validationActions: [Deny, Warn, Warn, Sing], paramRef: {name: a, selector: {}}}", []string{
			"spec.policyName: " + invalid, "spec.validationActions[2]: " + duplicate, "spec.validationActions[3]: " + notSupported, "spec.validationActions: " + invalid,
			"spec.paramRef.name: " + forbidden, "spec.paramRef.selector: " + forbidden, "spec.paramRef.parameterNotFoundAction: " + required}},
	} {
		t.Run(c.kind+"/"+c.name, func(t *testing.T) {
			k := byName(t, c.kind)
			expect(t, short(validated(k, created(t, k, c.yaml))), c.want)
		})
	}
}
