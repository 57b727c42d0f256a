package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
)

// mutatingWebhooks asks the webhooks of MutatingWebhookConfigurations one after the other, in the order of their
// configurations' names, and applies their patches. Once one has changed the object, the plug-ins before this one
// see it again, and then those webhooks that want to (reinvocationPolicy) and were asked before the change.
type mutatingWebhooks struct {
	silent
	client  Reader
	caller  *webhook.Caller
	allowed Authorizer
	hooks   compiled[[]*hook]
	before  []Plugin
}

func newMutatingWebhooks(c Reader, caller *webhook.Caller, allowed Authorizer, before []Plugin) *mutatingWebhooks {
	return &mutatingWebhooks{client: c, caller: caller, allowed: allowed, before: before, hooks: compiled[[]*hook]{
		kind: kind.Of[*admissionregistrationv1.MutatingWebhookConfiguration](),
		make: func(obj kind.Object) []*hook {
			return mutatingHooks(obj.(*admissionregistrationv1.MutatingWebhookConfiguration))
		},
	}}
}

func (*mutatingWebhooks) Name() string { return "MutatingAdmissionWebhook" }

func (p *mutatingWebhooks) Admit(ctx context.Context, r *Request) error {
	configurations, err := p.hooks.get(ctx, p.client())
	if err != nil || len(configurations) == 0 || unseen(r) {
		return err
	}
	asked := map[*hook]runtime.Object{} // with what each left
	changed := false
	index := 0
	for _, hooks := range configurations {
		for _, h := range hooks {
			left, did, err := p.ask(ctx, h, r, 0, index)
			if err != nil {
				return err
			}
			if left != nil && h.reinvoke {
				asked[h] = left
			}
			changed = changed || did
			index++
		}
	}
	if !changed {
		return nil
	}
	for _, plugin := range p.before {
		if err := plugin.Admit(ctx, r); err != nil {
			return err
		}
	}
	index = 0
	for _, hooks := range configurations {
		for _, h := range hooks {
			if left := asked[h]; left != nil && !apiequality.Semantic.DeepEqual(left, subjectOf(r).object) {
				if _, _, err := p.ask(ctx, h, r, 1, index); err != nil {
					return err
				}
			}
			index++
		}
	}
	return nil
}

// ask calls one webhook if it wants the request. It returns the object as the webhook left it, nil when it was not
// asked, and whether it changed it.
func (p *mutatingWebhooks) ask(ctx context.Context, h *hook, r *Request, round, index int) (runtime.Object, bool, error) {
	if !matchRules(r, h.rules) {
		return nil, false, nil
	}
	s := subjectOf(r)
	if wants, err := h.wants(ctx, p.client(), s, p.allowed); err != nil || !wants {
		return nil, false, err
	}
	note := fmt.Sprintf("mutation.webhook.admission.k8s.io/round_%d_index_%d", round, index)
	answer, err := h.ask(ctx, p.caller, s)
	if err == nil {
		if err = h.heard(ctx, r, answer); err != nil {
			return nil, false, err
		}
		var changed bool
		if changed, err = h.patch(r, s, answer); err == nil {
			kind.Annotate(ctx, note, fmt.Sprintf(`{"webhook":%q,"mutated":%t}`, h.name, changed))
			return subjectOf(r).object, changed, nil
		}
	}
	var f *failure
	if errors.As(err, &f) {
		return nil, false, h.failed(ctx, f, "failed-open."+note)
	}
	return nil, false, err
}

// patch applies a webhook's patch to the request's object.
func (h *hook) patch(r *Request, s *subject, a *admissionv1.AdmissionResponse) (bool, error) {
	switch {
	case len(a.Patch) == 0 && a.PatchType == nil:
		return false, nil
	case len(a.Patch) == 0:
		return false, &failure{h.name, errors.New("received invalid webhook response: webhook returned response.patchType but not response.patch")}
	case a.PatchType == nil:
		return false, &failure{h.name, errors.New("received invalid webhook response: webhook returned response.patch but not response.patchType")}
	case *a.PatchType != admissionv1.PatchTypeJSONPatch:
		return false, &failure{h.name, fmt.Errorf("unsupported patch type %q", *a.PatchType)}
	}
	patch, err := jsonpatch.DecodePatch(a.Patch)
	if err != nil {
		return false, &failure{h.name, fmt.Errorf("received undecodable patch in webhook response: %w", err)}
	}
	if len(patch) == 0 {
		return false, nil
	}
	if s.object == nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", h.name))
	}
	original, err := json.Marshal(s.object)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	patched, err := patch.Apply(original)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if bytes.Equal(patched, original) {
		return false, nil
	}
	next := reflect.New(reflect.TypeOf(s.object).Elem()).Interface().(runtime.Object)
	if err := json.Unmarshal(patched, next); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if next.GetObjectKind().GroupVersionKind() != s.kind {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to change the kind of the object", h.name))
	}
	return replaceObject(r, next)
}

// replaceObject puts a patched object in the place of the request's. What names an object is not a webhook's to
// change.
func replaceObject(r *Request, next runtime.Object) (bool, error) {
	to := runtime.Object(r.Object)
	if r.Body != nil {
		to = r.Body.Object
	}
	typ := to.GetObjectKind().GroupVersionKind()
	if was, ok := to.(metav1.Object); ok {
		is := next.(metav1.Object)
		if is.GetNamespace() != was.GetNamespace() {
			return false, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
		}
		if r.Body == nil && is.GetName() != was.GetName() {
			return false, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name of the request (%s)", is.GetName(), was.GetName()))
		}
		is.SetUID(was.GetUID())
		is.SetResourceVersion(was.GetResourceVersion())
	}
	if r.Body == nil && r.Kind.Default != nil {
		next.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		r.Kind.Default(next.(kind.Object))
	}
	next.GetObjectKind().SetGroupVersionKind(typ)
	changed := !apiequality.Semantic.DeepEqual(to, next)
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(next).Elem())
	return changed, nil
}

// validatingWebhooks asks the webhooks of ValidatingWebhookConfigurations, all at once.
type validatingWebhooks struct {
	silent
	client  Reader
	caller  *webhook.Caller
	allowed Authorizer
	hooks   compiled[[]*hook]
}

func newValidatingWebhooks(c Reader, caller *webhook.Caller, allowed Authorizer) *validatingWebhooks {
	return &validatingWebhooks{client: c, caller: caller, allowed: allowed, hooks: compiled[[]*hook]{
		kind: kind.Of[*admissionregistrationv1.ValidatingWebhookConfiguration](),
		make: func(obj kind.Object) []*hook {
			return validatingHooks(obj.(*admissionregistrationv1.ValidatingWebhookConfiguration))
		},
	}}
}

func (*validatingWebhooks) Name() string { return "ValidatingAdmissionWebhook" }

func (p *validatingWebhooks) Validate(ctx context.Context, r *Request) error {
	configurations, err := p.hooks.get(ctx, p.client())
	if err != nil || len(configurations) == 0 || unseen(r) {
		return err
	}
	var s *subject
	var called []*hook
	for _, hooks := range configurations {
		for _, h := range hooks {
			if !matchRules(r, h.rules) {
				continue
			}
			if s == nil {
				s = subjectOf(r)
			}
			wants, err := h.wants(ctx, p.client(), s, p.allowed)
			if err != nil {
				return err
			}
			if wants {
				called = append(called, h)
			}
		}
	}
	answers := make([]*admissionv1.AdmissionResponse, len(called))
	errs := make([]error, len(called))
	var wg sync.WaitGroup
	for i, h := range called {
		wg.Go(func() { answers[i], errs[i] = h.ask(ctx, p.caller, s) })
	}
	wg.Wait()
	var refusal error // the first in order, whatever came first in time
	for i, h := range called {
		if err := h.verdict(ctx, r, answers[i], errs[i], i); err != nil && refusal == nil {
			refusal = err
		}
	}
	return refusal
}

// verdict of a validating webhook.
func (h *hook) verdict(ctx context.Context, r *Request, a *admissionv1.AdmissionResponse, err error, index int) error {
	if err == nil && (len(a.Patch) > 0 || a.PatchType != nil) {
		err = &failure{h.name, errors.New("received invalid webhook response: validating webhook may not return response.patch")}
	}
	if err == nil {
		return h.heard(ctx, r, a)
	}
	var f *failure
	if errors.As(err, &f) {
		return h.failed(ctx, f, fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", index))
	}
	return err
}
