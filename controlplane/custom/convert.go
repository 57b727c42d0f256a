package custom

import (
	"bytes"
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
)

// converter converts objects, of which each has its type, to another version. It may change them, and returns them
// in order.
type converter func(ctx context.Context, objs []*kind.Custom, to metav1.TypeMeta) ([]*kind.Custom, error)

// renamed is the conversion None: the versions differ in name alone.
func renamed(_ context.Context, objs []*kind.Custom, to metav1.TypeMeta) ([]*kind.Custom, error) {
	for _, c := range objs {
		c.TypeMeta = to
	}
	return objs, nil
}

// isByWebhook says whether a webhook converts the objects of a definition.
func isByWebhook(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return crd.Spec.Conversion != nil && crd.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter
}

// converter returns how objects of a definition are converted.
func (d *Definitions) converter(crd *apiextensionsv1.CustomResourceDefinition) (converter, error) {
	if !isByWebhook(crd) {
		return renamed, nil
	}
	conversion := crd.Spec.Conversion
	if conversion.Webhook == nil || conversion.Webhook.ClientConfig == nil {
		return nil, fmt.Errorf("cannot convert %s: no webhook is configured", crd.Name)
	}
	target := targetOf(conversion.Webhook.ClientConfig)
	return byWebhook(func(ctx context.Context, request, response any) error {
		return d.webhooks.Call(ctx, target, request, response)
	}, reviewVersion(conversion.Webhook.ConversionReviewVersions)), nil
}

// reviewVersion returns the version of ConversionReview to send to a webhook that takes those listed: the first that there is.
func reviewVersion(taken []string) string {
	for _, v := range taken {
		if v == apiextensionsv1.SchemeGroupVersion.Version || v == apiextensionsv1beta1.SchemeGroupVersion.Version {
			return v
		}
	}
	return ""
}

// maxConverted bounds what a webhook may answer with: a page of a list, converted at once.
const maxConverted = 64 << 20

func targetOf(c *apiextensionsv1.WebhookClientConfig) webhook.Target {
	// a bundle that is blank stands in charts for one that is filled in later
	out := webhook.Target{CABundle: bytes.TrimSpace(c.CABundle), MaxAnswer: maxConverted}
	if c.URL != nil {
		out.URL = *c.URL
	}
	if ref := c.Service; ref != nil {
		out.Service = webhook.NewService(ref.Namespace, ref.Name, ref.Path, ref.Port)
	}
	return out
}
