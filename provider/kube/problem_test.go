package kube

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	apifield "k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

func TestErrorsAreReportedOnTheirAttributes(t *testing.T) {
	k := testEngine(t, "Deployment")
	plan := build(t, k.typ, `{"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}}}`)
	deployments := apischema.GroupResource{Group: "apps", Resource: "deployments"}
	invalid := apierrors.NewInvalid(apischema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", apifield.ErrorList{
		apifield.Invalid(apifield.NewPath("spec", "template", "spec", "containers").Index(1).Child("image"), "i", "no"),
		apifield.Required(apifield.NewPath("status"), "missing"),
	})
	conflict := apierrors.NewApplyConflict([]metav1.StatusCause{
		{Type: metav1.CauseTypeFieldManagerConflict, Field: `.spec.template.spec.containers[name="b"].image`, Message: `conflict with "helm" using apps/v1`},
	}, "conflict")
	for _, test := range []struct {
		err  error
		want string // path, summary and a part of the detail of each diagnostic
	}{
		{invalid, `spec.template.spec.containers[1].image|Cannot update deployment default/web|no;|Cannot update deployment default/web|missing`},
		{conflict, `spec.template.spec.containers[1].image|Cannot take over a field of deployment default/web|conflict with "helm"`},
		{apierrors.NewForbidden(deployments, "web", errors.New("nobody may")), `|Cannot update deployment default/web|kubectl auth can-i`},
		{apierrors.NewForbidden(deployments, "web", errors.New("exceeded quota: q")), `|Cannot update deployment default/web|Raise the namespace's resource quota`},
		{apierrors.NewUnauthorized("who"), `|Cannot update deployment default/web|does not accept the provider's credentials`},
		{fmt.Errorf("wrapped: %w", &Failure{"short", "long"}), `|short|long`},
		{errors.New("cannot go on"), `|Cannot update deployment default/web|Cannot go on.`},
	} {
		var diags diag.Diagnostics
		k.report(&diags, "update", identity{"", "default", "web"}, plan, test.err)
		wanted := strings.Split(test.want, ";")
		if len(wanted) != len(diags) {
			t.Errorf("%v: %d diagnostics: %v", test.err, len(diags), diags)
			continue
		}
		for i, want := range wanted {
			parts := strings.SplitN(want, "|", 3)
			if len(parts) < 3 {
				parts = append([]string{""}, parts...)
			}
			at := ""
			if d, ok := diags[i].(diag.DiagnosticWithPath); ok {
				at = d.Path().String()
			}
			if at != parts[0] || diags[i].Summary() != parts[1] || !strings.Contains(diags[i].Detail(), parts[2]) {
				t.Errorf("%v: %s: %s: %s", test.err, at, diags[i].Summary(), diags[i].Detail())
			}
		}
	}
}

func TestRecursiveTypesEnd(t *testing.T) {
	d := &derivation{desc: &Descriptor{}, matched: map[string]bool{}}
	n := d.value(reflect.TypeFor[apiextensionsv1.CustomResourceDefinitionSpec](), "", schema.Atom{})
	n.seal()
	props := n.field("versions").node.elem.field("schema").node.field("open_api_v3_schema").node
	if props.kind != kindObject || props.field("properties").node.elem.kind != kindJSON {
		t.Error("a schema inside a schema is not a document")
	}
}

func TestDescriptorsThatDoNotFitAreRefused(t *testing.T) {
	desc := testKinds["Service"]
	desc.Immutable = []string{"spec.cluster_Ip"}
	if _, err := newEngine(&desc); err == nil || !strings.Contains(err.Error(), "there is no attribute spec.cluster_Ip") {
		t.Errorf("the error is %v", err)
	}
}
