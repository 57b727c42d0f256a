package custom

import (
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
)

func TestTargetOfConversion(t *testing.T) {
	for text, want := range map[string]webhook.Target{
		`{url: "https://example.com/convert", caBundle: Cg==}`:                                   {URL: "https://example.com/convert"},
		`{service: {namespace: system, name: hook}, caBundle: YQ==}`:                             {Service: &webhook.Service{Namespace: "system", Name: "hook"}, CABundle: []byte("a")},
		`{service: {namespace: system, name: hook, path: /convert, port: 8443}, caBundle: YQ==}`: {Service: &webhook.Service{Namespace: "system", Name: "hook", Path: "/convert", Port: 8443}, CABundle: []byte("a")},
	} {
		c := &apiextensionsv1.WebhookClientConfig{}
		if err := yaml.UnmarshalStrict([]byte(text), c); err != nil {
			t.Fatal(text, err)
		}
		want.MaxAnswer = maxConverted
		if got := targetOf(c); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}
