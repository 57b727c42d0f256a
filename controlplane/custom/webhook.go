package custom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// webhookTimeout is how long a conversion may take, as in Kubernetes.
const webhookTimeout = 30 * time.Second

// caller sends a request to a webhook and decodes its answer.
type caller func(ctx context.Context, request, response any) error

// byWebhook converts by asking a webhook, with all objects in one ConversionReview of the version given ("": the webhook
// takes none that there is). v1beta1 has the same fields as v1.
func byWebhook(call caller, version string) converter {
	return func(ctx context.Context, objs []*kind.Custom, to metav1.TypeMeta) ([]*kind.Custom, error) {
		ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
		defer cancel()
		hook := fmt.Sprintf("conversion webhook for %s, Kind=%s", objs[0].APIVersion, objs[0].Kind)
		converted, err := review(ctx, call, version, objs, to)
		if err != nil {
			return nil, fmt.Errorf("%s failed: %w", hook, err)
		}
		if len(converted) != len(objs) {
			return nil, fmt.Errorf("%s returned %d objects, expected %d", hook, len(converted), len(objs))
		}
		out := make([]*kind.Custom, len(objs))
		for i := range objs {
			if out[i], err = readConverted(converted[i], objs[i], to); err != nil {
				return nil, fmt.Errorf("%s returned invalid converted object at index %d: %w", hook, i, err)
			}
		}
		return out, nil
	}
}

// review asks for objects in another version and returns what the webhook made of them, however many that are.
func review(ctx context.Context, call caller, version string, objs []*kind.Custom, to metav1.TypeMeta) ([]runtime.RawExtension, error) {
	if version == "" {
		return nil, errors.New("no supported conversion review versions")
	}
	gvk := schema.GroupVersionKind{Group: apiextensionsv1.GroupName, Version: version, Kind: "ConversionReview"}
	request := &apiextensionsv1.ConversionReview{Request: &apiextensionsv1.ConversionRequest{UID: uuid.NewUUID(), DesiredAPIVersion: to.APIVersion}}
	request.SetGroupVersionKind(gvk)
	for _, c := range objs {
		raw, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		request.Request.Objects = append(request.Request.Objects, runtime.RawExtension{Raw: raw})
	}
	answer := &apiextensionsv1.ConversionReview{}
	if err := call(ctx, request, answer); err != nil {
		return nil, err
	}
	return answered(answer, gvk, request.Request.UID)
}

// answered returns the objects of a webhook's answer, or what is wrong with it. One of v1beta1 need not say what it is and
// what it answers.
func answered(review *apiextensionsv1.ConversionReview, want schema.GroupVersionKind, uid types.UID) ([]runtime.RawExtension, error) {
	strict := want.Version != apiextensionsv1beta1.SchemeGroupVersion.Version
	if got := review.GroupVersionKind(); strict && got != want {
		return nil, fmt.Errorf("expected webhook response of %s, got %s", want, got)
	}
	r := review.Response
	switch {
	case r == nil:
		return nil, errors.New("no response provided")
	case strict && r.UID != uid:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case r.Result.Status != metav1.StatusSuccess:
		if r.Result.Message != "" {
			return nil, errors.New(r.Result.Message)
		}
		return nil, fmt.Errorf("response.result.status was '%s', not 'Success'", r.Result.Status)
	}
	return r.ConvertedObjects, nil
}

// readConverted reads one converted object. A webhook may change labels and annotations of the metadata, and nothing
// else of it.
func readConverted(raw runtime.RawExtension, from *kind.Custom, to metav1.TypeMeta) (*kind.Custom, error) {
	c := &kind.Custom{}
	if _, err := c.Decode(raw.Raw); err != nil {
		return nil, err
	}
	if c.APIVersion != to.APIVersion {
		return nil, fmt.Errorf("invalid groupVersion (expected %s, received %s)", to.APIVersion, c.APIVersion)
	}
	if c.Kind != to.Kind {
		return nil, fmt.Errorf("invalid kind (expected %s, received %s)", to.Kind, c.Kind)
	}
	for _, same := range []struct{ what, in, out string }{
		{"name", from.Name, c.Name}, {"namespace", from.Namespace, c.Namespace}, {"UID", string(from.UID), string(c.UID)},
	} {
		if same.in != same.out {
			return nil, fmt.Errorf("must have the same %s: %s != %s", same.what, same.in, same.out)
		}
	}
	labels, annotations := c.Labels, c.Annotations
	c.ObjectMeta = *from.ObjectMeta.DeepCopy()
	c.Labels, c.Annotations = labels, annotations
	var errs field.ErrorList
	path := field.NewPath("metadata")
	if !maps.Equal(labels, from.Labels) {
		errs = metav1validation.ValidateLabels(labels, path.Child("labels"))
	}
	if !maps.Equal(annotations, from.Annotations) {
		errs = append(errs, apivalidation.ValidateAnnotations(annotations, path.Child("annotations"))...)
	}
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return c, nil
}
