package admission_test

import (
	"context"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// policies stores policies and bindings for the length of a test.
func (s *server) policies(t *testing.T, policy, binding string) {
	t.Helper()
	p, b := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	if err := yaml.UnmarshalStrict([]byte(policy), p); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(binding), b); err != nil {
		t.Fatal(err)
	}
	c := s.AdmissionregistrationV1()
	if _, err := c.ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Spec.PolicyName = p.Name
	b.Name = p.Name
	if _, err := c.ValidatingAdmissionPolicyBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.ValidatingAdmissionPolicyBindings().Delete(context.Background(), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := c.ValidatingAdmissionPolicies().Delete(context.Background(), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// configMapRule is what all policies of the test are about.
const configMapRule = `{resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]}`

func TestValidatingPolicies(t *testing.T) {
	s := serve(t)
	for name, tc := range map[string]struct {
		policy, binding string // their specs
		data            string
		code            int32
		want            string
	}{
		"deny":        {`{validations: [{expression: "object.data.a != 'x'"}]}`, `{validationActions: [Deny]}`, "x", 422, `denied request: failed expression: object.data.a != 'x'`},
		"allow":       {`{validations: [{expression: "object.data.a != 'x'"}]}`, `{validationActions: [Deny]}`, "y", 0, ""},
		"message":     {`{validations: [{expression: "false", message: plain, messageExpression: "'in ' + namespaceObject.metadata.name + ' by ' + request.userInfo.username", reason: Forbidden}]}`, `{validationActions: [Deny]}`, "x", 403, "denied request: in default by admin"},
		"variables":   {`{variables: [{name: one, expression: "object.data.a"}, {name: two, expression: "variables.one + '!'"}], validations: [{expression: "variables.two == 'x!'"}, {expression: "variables.two != 'x!'", message: second}]}`, `{validationActions: [Deny]}`, "x", 422, "denied request: second"},
		"conditions":  {`{matchConditions: [{name: a, expression: "object.data.a == 'y'"}], validations: [{expression: "false"}]}`, `{validationActions: [Deny]}`, "x", 0, ""},
		"authorizer":  {`{validations: [{expression: "authorizer.group('').resource('pods').namespace('default').check('delete').allowed()"}, {expression: "!authorizer.requestResource.check('create').allowed()", message: may create}]}`, `{validationActions: [Deny]}`, "x", 422, "denied request: may create"},
		"error":       {`{validations: [{expression: "object.data.missing == 'x'"}]}`, `{validationActions: [Deny]}`, "x", 422, "no such key: missing"},
		"ignored":     {`{failurePolicy: Ignore, validations: [{expression: "object.data.missing == 'x'"}]}`, `{validationActions: [Deny]}`, "x", 0, ""},
		"params":      {`{paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: "object.data.a != params.data.a", messageExpression: "'not ' + params.data.a"}]}`, `{validationActions: [Deny], paramRef: {name: params, namespace: kube-system, parameterNotFoundAction: Deny}}`, "x", 422, "denied request: not x"},
		"selected":    {`{paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: "object.data.a != params.data.a"}]}`, `{validationActions: [Deny], paramRef: {selector: {matchLabels: {params: "yes"}}, namespace: kube-system, parameterNotFoundAction: Allow}}`, "x", 422, "failed expression"},
		"no params":   {`{paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: "false"}]}`, `{validationActions: [Deny], paramRef: {name: none, namespace: kube-system, parameterNotFoundAction: Deny}}`, "x", 422, "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"},
		"none needed": {`{paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: "false"}]}`, `{validationActions: [Deny], paramRef: {name: none, namespace: kube-system, parameterNotFoundAction: Allow}}`, "x", 0, ""},
		"elsewhere":   {`{validations: [{expression: "false"}]}`, `{validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {no: such}}}}`, "x", 0, ""},
		"named":       {`{validations: [{expression: "false"}]}`, `{validationActions: [Deny], matchResources: {excludeResourceRules: [{resourceNames: [policed], apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]}}`, "x", 0, ""},
		"costly":      {`{validations: [{expression: "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, object.data.a != 'q'))))))"}]}`, `{validationActions: [Deny]}`, "x", 422, "operation cancelled: actual cost limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "params" || name == "selected" {
				params := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "params", Labels: map[string]string{"params": "yes"}}, Data: map[string]string{"a": "x"}}
				if _, err := s.CoreV1().ConfigMaps("kube-system").Create(t.Context(), params, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := s.CoreV1().ConfigMaps("kube-system").Delete(context.Background(), "params", metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				}()
			}
			s.policies(t, "metadata: {name: p}\nspec: "+tc.policy[:len(tc.policy)-1]+", matchConstraints: "+configMapRule+"}", "spec: "+tc.binding)
			cm := named("policed")
			cm.Data["a"] = tc.data
			_, err := s.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{DryRun: []string{"All"}})
			if tc.code == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tc.code, `configmaps "policed" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' `)
			wantError(t, err, tc.code, tc.want)
		})
	}
}

func TestPolicyActions(t *testing.T) {
	s := serve(t)
	s.policies(t, `{metadata: {name: soft}, spec: {validations: [{expression: "false", message: better not}], auditAnnotations: [{key: note, valueExpression: "'made ' + object.metadata.name"}], matchConstraints: `+configMapRule+`}}`,
		`{spec: {validationActions: [Warn, Audit]}}`)
	s.mustCreate(t, named("soft"))
	if got := s.warn.take(); got != "Validation failed for ValidatingAdmissionPolicy 'soft' with binding 'soft': better not" {
		t.Errorf("warnings %q", got)
	}
	s.env.Eventually("the audit log has both", func() bool {
		return s.audit.has(`"soft/note":"made soft"`) && s.audit.has(`"validation.policy.admission.k8s.io/validation_failure":"[{\"message\":\"better not\",\"policy\":\"soft\",\"binding\":\"soft\",\"expressionIndex\":0,\"validationActions\":[\"Warn\",\"Audit\"]}]"`)
	})
	// a policy is compiled anew when it changes
	p, err := s.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), "soft", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.Validations[0].Expression = "true"
	if _, err := s.AdmissionregistrationV1().ValidatingAdmissionPolicies().Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.mustCreate(t, named("softer"))
	if got := s.warn.take(); got != "" {
		t.Errorf("warnings %q", got)
	}
}

// TestPolicyReach asks which requests a policy about everything sees, and under which names.
func TestPolicyReach(t *testing.T) {
	s := serve(t)
	s.policies(t, `{metadata: {name: all}, spec: {matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*/*"]}]},
  matchConditions: [{name: ours, expression: "request.name.startsWith('reach')"}],
  validations: [{expression: "false", messageExpression: "request.operation + ' ' + request.resource.resource + (has(request.subResource) ? '/' + request.subResource : '') + ' ' + request.kind.kind"}]}}`,
		`{spec: {validationActions: [Deny]}}`)
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "reach"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	core, hooks := s.CoreV1().RESTClient(), s.AdmissionregistrationV1()
	for want, do := range map[string]func() error{
		"CREATE bindings Binding": func() error {
			return core.Post().Namespace("default").Resource("bindings").Body(binding).Do(t.Context()).Error()
		},
		"CREATE pods/binding Binding": func() error { return s.CoreV1().Pods("default").Bind(t.Context(), binding, metav1.CreateOptions{}) },
		"CONNECT pods/exec PodExecOptions": func() error {
			return core.Post().Namespace("default").Resource("pods").Name("reach").SubResource("exec").Param("command", "a").Do(t.Context()).Error()
		},
		"CREATE validatingwebhookconfigurations ValidatingWebhookConfiguration": func() error {
			_, err := hooks.ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "reach"}}, metav1.CreateOptions{})
			return err
		},
	} {
		wantError(t, do(), 422, "denied request: "+want)
	}
	_, err := hooks.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "reach"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "x", ValidationActions: []admissionregistrationv1.ValidationAction{"Deny"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Errorf("a policy judges policies: %v", err)
	}
}
