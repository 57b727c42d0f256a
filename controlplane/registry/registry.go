// Package registry is the one path that every kind takes between a client and the store:
//
//	default -> own fields -> managed fields -> admit -> validate -> admission's last word -> store
//
// The HTTP server and the controllers (through Client) write by the same path, so a rule that holds for one
// holds for the other. What differs from kind to kind is data in package kind; the few kinds that Kubernetes
// gives verbs of their own (binding, eviction, finalize) have a file each.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// maxClaimRetries bounds how often a write is admitted again because a name that admission chose for it (a
// cluster IP, a node port) was taken between the choice and the transaction.
const maxClaimRetries = 8

// maxNameRetries bounds how often generateName is tried, as kube-apiserver does.
const maxNameRetries = 8

// Config of a Registry. Store and Kinds are required.
type Config struct {
	Store *store.Store
	// Kinds are those that the registry begins with. It keeps a copy, to which others may be added.
	Kinds *kind.Table
	// Admission are the plug-ins in the order in which they run.
	Admission []admission.Plugin
	// Logger is slog.Default() when nil.
	Logger *slog.Logger
}

// Registry reads and writes objects of every kind in its table. It is safe for concurrent use and owns no
// goroutine. All errors are apierrors.
type Registry struct {
	store     *store.Store
	kinds     *kind.Table
	admission []admission.Plugin
	log       *slog.Logger
	managed   *fieldManagers
	now       func() time.Time
}

// New returns a registry. It reads nothing.
func New(c Config) *Registry {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	kinds := c.Kinds.Copy()
	return &Registry{
		store:     c.Store,
		kinds:     kinds,
		admission: c.Admission,
		log:       c.Logger,
		managed:   newFieldManagers(kinds),
		now:       time.Now,
	}
}

// Kinds returns the kinds that the registry serves; see Define.
func (r *Registry) Kinds() *kind.Table { return r.kinds }

// Store returns the store below, for readiness and figures; writes that go around the registry break its rules.
func (r *Registry) Store() *store.Store { return r.store }

// Write holds what a client says of a write beside the object.
type Write struct {
	// FieldManager is whom managedFields name; "unknown" when empty.
	FieldManager string
	// DryRun runs every step but the store's.
	DryRun bool
	// Force lets an apply take fields from other managers.
	Force bool
	// Strict is how unknown and duplicate fields of a patch are treated.
	Strict Strictness
	// Warn receives texts for Warning headers; nil drops them.
	Warn func(text string)
	// Preconditions is nil or what the current object must be.
	Preconditions *metav1.Preconditions
	// Check, when set, has a word on the new state before admission: old is nil on create. It must not change
	// either.
	Check func(obj, old kind.Object) error
	// Unconditional lets an update leave out the resourceVersion of kinds that ask clients for one.
	Unconditional bool
	// CreateMissing lets Update create an object that is not there, for kinds where Kubernetes does.
	CreateMissing bool

	// applied says that the change comes with its managedFields: an apply has merged them.
	applied bool
	// admitted says that admission has been asked about what the change is a part of.
	admitted bool
}

// Strictness is a fieldValidation of a request.
type Strictness int

// The field validations.
const (
	Ignore Strictness = iota
	Warn
	Strict
)

func (w *Write) check(obj, old kind.Object) error {
	if w.Check == nil {
		return nil
	}
	return w.Check(obj, old)
}

func (w *Write) warn(text string) {
	if w.Warn != nil {
		w.Warn(text)
	}
}

// asStatus makes an apierror of any error of the store, so that callers see one kind of error only.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return apierrors.NewTimeoutError("request did not complete within the allowed time", 1)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// createsOnUpdate are the resources whose objects a PUT or a patch creates when they are missing, as
// kube-apiserver has it.
var createsOnUpdate = map[schema.GroupResource]bool{
	{Resource: "endpoints"}:                                               true,
	{Resource: "events"}:                                                  true,
	{Resource: "limitranges"}:                                             true,
	{Resource: "services"}:                                                true,
	{Group: "node.k8s.io", Resource: "runtimeclasses"}:                    true,
	{Group: "coordination.k8s.io", Resource: "leases"}:                    true,
	{Group: "rbac.authorization.k8s.io", Resource: "roles"}:               true,
	{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}:        true,
	{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}:        true,
	{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}: true,
	{Group: "events.k8s.io", Resource: "events"}:                          true,
}
