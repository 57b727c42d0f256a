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

// webhooks are those of one kind of configuration.
type webhooks struct {
	client  Reader
	kinds   func() *kind.Table
	caller  *webhook.Caller
	allowed Authorizer
	hooks   compiled[[]*hook]
}

// newWebhooks returns those of configurations C, whose webhooks make makes.
func newWebhooks[C kind.Object](c Reader, o Options, make func(C) []*hook) *webhooks {
	return &webhooks{client: c, kinds: o.Kinds, caller: o.Webhooks, allowed: o.Authorizer, hooks: compiled[[]*hook]{
		kind: kind.Of[C](), make: func(obj kind.Object) []*hook { return make(obj.(C)) },
	}}
}

// of returns the webhooks that there are for a request, by configuration in the order of their names.
func (w *webhooks) of(ctx context.Context, r *Request) ([][]*hook, error) {
	configurations, err := w.hooks.get(ctx, w.client())
	// what is about webhooks and policies themselves could lock everybody out
	if err != nil || len(configurations) == 0 || r.Kind.Group == admissionregistrationv1.GroupName || seenByBody(r) {
		return nil, err
	}
	return configurations, nil
}

// wants returns the request as a webhook is to see it, nil when it is not to be asked. given makes the subject when the
// webhook's rules name the request.
func (w *webhooks) wants(ctx context.Context, h *hook, r *Request, given func() *subject) (*subject, error) {
	k := h.rules.match(r, w.kinds())
	if k == nil {
		return nil, nil
	}
	return h.wants(ctx, w.client(), given(), k, w.allowed)
}

// mutatingWebhooks asks the webhooks of MutatingWebhookConfigurations one after the other, in the order of their
// configurations' names, and applies their patches. Once one has changed the object, the plug-ins before this one
// see it again, and then those webhooks that want to (reinvocationPolicy) and were asked before the change.
type mutatingWebhooks struct {
	silent
	*webhooks
	before []Plugin
}

func (*mutatingWebhooks) Name() string { return "MutatingAdmissionWebhook" }

func (p *mutatingWebhooks) Admit(ctx context.Context, r *Request) error {
	configurations, err := p.of(ctx, r)
	if err != nil || len(configurations) == 0 {
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
	s, err := p.wants(ctx, h, r, func() *subject { return subjectOf(r) })
	if err != nil || s == nil {
		return nil, false, err
	}
	note := fmt.Sprintf("mutation.webhook.admission.k8s.io/round_%d_index_%d", round, index)
	answer, err := h.ask(ctx, p.caller, s)
	if err == nil {
		if err = h.heard(ctx, r, answer); err != nil {
			return nil, false, err
		}
		var changed bool
		if changed, err = h.patch(ctx, r, s, answer); err == nil {
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

// patch applies a webhook's patch to the request's object, in the version that the webhook saw it in.
func (h *hook) patch(ctx context.Context, r *Request, s *subject, a *admissionv1.AdmissionResponse) (bool, error) {
	if len(a.Patch) == 0 {
		return false, nil
	}
	if *a.PatchType != admissionv1.PatchTypeJSONPatch {
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
	if s.version == r.Kind || r.Body != nil {
		return replaceObject(r, next)
	}
	return replaceConverted(ctx, r, s, next.(kind.Object))
}

// replaceConverted replaces the request's object by a patched one of another version. One that the patch left as it was
// is not converted back: not everything survives that.
func replaceConverted(ctx context.Context, r *Request, s *subject, next kind.Object) (bool, error) {
	if apiequality.Semantic.DeepEqual(s.object, next) {
		return false, nil
	}
	if s.version.Default != nil {
		s.version.Default(next)
	}
	back, err := kind.Convert(ctx, next, s.version, r.Kind)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return replaceObject(r, back)
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
	*webhooks
}

func (*validatingWebhooks) Name() string { return "ValidatingAdmissionWebhook" }

func (p *validatingWebhooks) Validate(ctx context.Context, r *Request) error {
	configurations, err := p.of(ctx, r)
	if err != nil || len(configurations) == 0 {
		return err
	}
	given := sync.OnceValue(func() *subject { return subjectOf(r) })
	var called []call
	for _, hooks := range configurations {
		for _, h := range hooks {
			seen, err := p.wants(ctx, h, r, given)
			if err != nil {
				return err
			}
			if seen != nil {
				called = append(called, call{h, seen})
			}
		}
	}
	answers := make([]*admissionv1.AdmissionResponse, len(called))
	errs := make([]error, len(called))
	var wg sync.WaitGroup
	for i, c := range called {
		wg.Go(func() { answers[i], errs[i] = c.hook.ask(ctx, p.caller, c.subject) })
	}
	wg.Wait()
	var refusal error // the first in order, whatever came first in time
	for i, c := range called {
		if err := c.hook.verdict(ctx, r, answers[i], errs[i], i); err != nil && refusal == nil {
			refusal = err
		}
	}
	return refusal
}

// call is a validating webhook with the request as it is to see it.
type call struct {
	hook    *hook
	subject *subject
}

// verdict of a validating webhook.
func (h *hook) verdict(ctx context.Context, r *Request, a *admissionv1.AdmissionResponse, err error, index int) error {
	if err == nil {
		return h.heard(ctx, r, a)
	}
	var f *failure
	if errors.As(err, &f) {
		return h.failed(ctx, f, fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", index))
	}
	return err
}
