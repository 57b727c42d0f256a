package custom

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
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

// converter returns how objects of a definition are converted, and what ends the connections that it needs.
func (d *Definitions) converter(crd *apiextensionsv1.CustomResourceDefinition) (converter, func(), error) {
	conversion := crd.Spec.Conversion
	if conversion == nil || conversion.Strategy != apiextensionsv1.WebhookConverter {
		return renamed, func() {}, nil
	}
	if conversion.Webhook == nil || conversion.Webhook.ClientConfig == nil {
		return nil, nil, fmt.Errorf("cannot convert %s: no webhook is configured", crd.Name)
	}
	hc, url, err := d.webhookClient(conversion.Webhook.ClientConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot convert %s: %w", crd.Name, err)
	}
	return byWebhook(func(ctx context.Context, request, response any) error {
		return post(ctx, hc, url, request, response)
	}), hc.CloseIdleConnections, nil
}
