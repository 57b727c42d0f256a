package custom

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
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

// TestReviewVersion converts by webhooks that take other versions of ConversionReview. One of v1beta1 answers as those of
// its time did: it says neither what its answer is nor which request it is for.
func TestReviewVersion(t *testing.T) {
	bare := `{"response": {"result": {"status": "Success"}, "convertedObjects": [{"apiVersion": "example.com/v2", "kind": "Paint", "metadata": {"name": "a"}}]}}`
	for name, tc := range map[string]struct {
		taken      []string
		sent, want string
	}{
		"old":      {[]string{"v1beta1"}, "apiextensions.k8s.io/v1beta1", ""},
		"first":    {[]string{"v3", "v1beta1", "v1"}, "apiextensions.k8s.io/v1beta1", ""},
		"verified": {[]string{"v1", "v1beta1"}, "apiextensions.k8s.io/v1", "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind="},
		"unknown":  {[]string{"v3"}, "", "no supported conversion review versions"},
	} {
		t.Run(name, func(t *testing.T) {
			sent := ""
			convert := byWebhook(func(_ context.Context, request, response any) error {
				sent = request.(*apiextensionsv1.ConversionReview).APIVersion
				return json.Unmarshal([]byte(bare), response)
			}, reviewVersion(tc.taken))
			from := &kind.Custom{TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "Paint"}, ObjectMeta: metav1.ObjectMeta{Name: "a"}}
			out, err := convert(t.Context(), []*kind.Custom{from}, metav1.TypeMeta{APIVersion: "example.com/v2", Kind: "Paint"})
			switch {
			case sent != tc.sent:
				t.Errorf("sent a review of %q, want %q", sent, tc.sent)
			case tc.want == "" && (err != nil || len(out) != 1 || out[0].APIVersion != "example.com/v2"):
				t.Errorf("converted %v, %v", out, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
