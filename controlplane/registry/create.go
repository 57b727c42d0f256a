package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// nameSuffix is how many characters generateName appends, and maxGeneratedPrefix what is kept of its base so
// that the name fits a DNS label.
const (
	nameSuffix         = 5
	maxGeneratedPrefix = 63 - nameSuffix
)

// Create stores a new object and returns it as stored. obj becomes the registry's: the caller must not use it
// afterwards.
func (r *Registry) Create(ctx context.Context, k *kind.Kind, obj kind.Object, w Write) (*store.Item, error) {
	if k.Terminating {
		return nil, apierrors.NewForbidden(k.GroupResource(), obj.GetName(), errors.New("create not allowed while custom resource definition is terminating"))
	}
	generated := obj.GetName() == "" && obj.GetGenerateName() != ""
	// only a write that can be repeated needs the request's own object again
	var pristine kind.Object
	if k.StoredKind().Claims != nil || generated {
		pristine = obj.DeepCopyObject().(kind.Object)
	}
	for names, claims := 0, 0; ; {
		req, err := r.prepareCreate(ctx, k, obj, w)
		if err != nil {
			return nil, err
		}
		item, err := r.storeNew(ctx, k, obj, w)
		req.Settle(outcomeOf(err))
		var claim *store.ClaimError
		switch {
		case err == nil:
			return item, nil
		case generated && apierrors.IsAlreadyExists(err):
			if names++; names >= maxNameRetries {
				return nil, apierrors.NewGenerateNameConflict(k.GroupResource(), obj.GetName(), 1)
			}
		case errors.As(err, &claim):
			if claims++; claims >= maxClaimRetries {
				return nil, claimRefused(k, obj, claim)
			}
		default:
			return nil, asStatus(err)
		}
		obj = pristine.DeepCopyObject().(kind.Object)
	}
}

func claimRefused(k *kind.Kind, obj kind.Object, claim *store.ClaimError) error {
	return apierrors.NewConflict(k.GroupResource(), obj.GetName(), fmt.Errorf("%s is already allocated", claim.Claim))
}

// storeNew hands the finished object to the store, or only asks whether it would be taken on a dry run. That an object of
// some version can not be new is found here, when admission and validation have had their say.
func (r *Registry) storeNew(ctx context.Context, k *kind.Kind, obj kind.Object, w Write) (*store.Item, error) {
	if obj.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if w.DryRun {
		_, err := r.store.Get(ctx, k.StoredKind(), obj.GetNamespace(), obj.GetName(), "")
		if err == nil {
			return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		return &store.Item{Object: obj}, nil
	}
	stored, err := toStored(ctx, k, obj)
	if err != nil {
		return nil, err
	}
	var ttl time.Duration
	if sk := k.StoredKind(); sk.TTL != nil {
		ttl = sk.TTL(stored)
	}
	item, err := r.store.Create(ctx, k.StoredKind(), stored, ttl)
	if apierrors.IsAlreadyExists(err) {
		// Who is told that an object is there finds it with the next read: the cache is brought up to it.
		if _, err := r.store.Get(ctx, k.StoredKind(), stored.GetNamespace(), stored.GetName(), ""); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return present(ctx, k, item)
}

// prepareCreate takes obj through every step before the store. The caller settles the request that it returns.
func (r *Registry) prepareCreate(ctx context.Context, k *kind.Kind, obj kind.Object, w Write) (*admission.Request, error) {
	r.ownMeta(k, obj)
	dedupOwners(obj, w.warn)
	if k.Default != nil {
		k.Default(obj)
	}
	// what the server adds below is nobody's
	if !w.applied {
		if err := r.managed.create(k, obj, w.FieldManager, r.now()); err != nil {
			return nil, err
		}
	}
	own(ctx, k, obj)
	if err := w.check(obj, nil); err != nil {
		return nil, err
	}
	req := &admission.Request{
		Verb: kind.Create, Kind: k, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: obj,
		DryRun: w.DryRun, User: kind.UserFrom(ctx), Warn: w.warn, FieldManager: w.FieldManager,
	}
	if err := r.admit(ctx, req); err != nil {
		return nil, err
	}
	// what admission added takes defaults too, and may not bring back what the server owns
	if len(r.admission) > 0 {
		if k.Default != nil {
			k.Default(obj)
		}
		own(ctx, k, obj)
	}
	if k.Complete != nil {
		for _, text := range k.Complete(obj) {
			w.warn(text)
		}
	}
	if errs := validateNew(k, obj); len(errs) > 0 {
		return nil, refusedAs(k, obj.GetName(), errs)
	}
	if k.Warnings != nil {
		for _, text := range k.Warnings(obj, nil) {
			w.warn(text)
		}
	}
	return req, r.admitLast(ctx, req)
}

// own sets and clears the fields of a new object that a client has no say in.
func own(ctx context.Context, k *kind.Kind, obj kind.Object) {
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	if k.Requestor != nil {
		k.Requestor(obj, kind.UserFrom(ctx))
	}
}

// ownMeta sets the metadata that only the server may set on a new object.
func (r *Registry) ownMeta(k *kind.Kind, obj kind.Object) {
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		obj.SetName(generateName(obj.GetGenerateName()))
	}
	if !k.Namespaced {
		obj.SetNamespace("")
	}
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(metav1.Time{Time: r.now().Truncate(time.Second)})
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	if k.Generation { // of other kinds it is the client's, for nothing reads it
		obj.SetGeneration(1)
	}
	clearType(obj)
}

func generateName(base string) string {
	if len(base) > maxGeneratedPrefix {
		base = base[:maxGeneratedPrefix]
	}
	return base + rand.String(nameSuffix)
}

func (r *Registry) admit(ctx context.Context, req *admission.Request) error {
	for _, p := range r.admission {
		if err := p.Admit(ctx, req); err != nil {
			return asStatus(err)
		}
	}
	return nil
}

func (r *Registry) admitLast(ctx context.Context, req *admission.Request) error {
	for _, p := range r.admission {
		if err := p.Validate(ctx, req); err != nil {
			req.Settle(admission.Refused)
			return asStatus(err)
		}
	}
	return nil
}

// AdmitBody asks admission about a request to a subresource that carries an object of its own, which admission may
// change: a Binding, a TokenRequest, the options of a connection.
func (r *Registry) AdmitBody(ctx context.Context, verb kind.Verb, k *kind.Kind, namespace, name, subresource string, body *admission.Body, w Write) error {
	req := r.bodyRequest(ctx, verb, k, namespace, name, subresource, body, w)
	if err := r.admit(ctx, req); err != nil {
		return err
	}
	return r.admitLast(ctx, req)
}

func (r *Registry) bodyRequest(ctx context.Context, verb kind.Verb, k *kind.Kind, namespace, name, subresource string, body *admission.Body, w Write) *admission.Request {
	return &admission.Request{
		Verb: verb, Kind: k, Subresource: subresource, Namespace: namespace, Name: name, Body: body,
		DryRun: w.DryRun, User: kind.UserFrom(ctx), Warn: w.warn, FieldManager: w.FieldManager,
	}
}

// outcomeOf says what an error of the store means for the write.
func outcomeOf(err error) admission.Outcome {
	switch {
	case err == nil:
		return admission.Stored
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err):
		return admission.Unknown
	}
	return admission.Refused
}
