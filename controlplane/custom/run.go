// Package custom serves what CustomResourceDefinitions define. Every server follows the definitions by itself: it
// accepts their names, puts their kinds into the registry, says that they are established, and empties and lets go
// what is deleted. Servers that do so at once only find each other's work done.
package custom

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/webhook"
)

const (
	// cleaners is how many definitions are emptied at once; a webhook that does not answer holds up one of them.
	cleaners = 4
	// lookAgain is how soon a definition is looked at whose objects are slow to go.
	lookAgain = time.Second
)

// Definitions follows the definitions. Run runs once.
type Definitions struct {
	registry *registry.Registry
	client   client.Client
	webhooks *webhook.Caller
	log      *slog.Logger
	synced   chan struct{} // closed by Run when what was defined at the start is served

	defining sync.Mutex // held while a definition's kinds are made and put in place

	mu     sync.Mutex
	served map[string]*defined // by the definition's name
}

// defined is what is served of a definition.
type defined struct {
	uid         types.UID
	generation  int64
	names       apiextensionsv1.CustomResourceDefinitionNames
	terminating bool
	stored      *kind.Kind
}

// same says whether both are served alike.
func (d *defined) same(o *defined) bool {
	return d.uid == o.uid && d.generation == o.generation && d.terminating == o.terminating && apiequality.Semantic.DeepEqual(d.names, o.names)
}

// New returns what follows the definitions in r.
func New(r *registry.Registry, log *slog.Logger) *Definitions {
	c := registry.NewClient(r, "fairlead")
	return &Definitions{
		registry: r, client: c, webhooks: webhook.New(func() client.Client { return c }), log: log,
		synced: make(chan struct{}), served: map[string]*defined{},
	}
}

// Synced is closed when what had been defined before the start is served.
func (d *Definitions) Synced() <-chan struct{} { return d.synced }

var definitions = kind.Of[*apiextensionsv1.CustomResourceDefinition]

// Run follows the definitions until ctx ends, and returns nil then.
func (d *Definitions) Run(ctx context.Context) error {
	if d.registry.Kinds().ByKind(definitions().GroupVersionKind) == nil {
		close(d.synced) // a registry of a few kinds, as tests have it
		<-ctx.Done()
		return nil
	}
	defer d.webhooks.Close()
	if err := d.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(d.synced)
	return loop.Run(ctx, d.client, d.log,
		loop.Controller{Name: "definition", Also: []loop.Source{{Kind: definitions(), Keys: d.concerned}}, Reconcile: d.reconcile},
		loop.Controller{Name: "definition-cleanup", For: definitions(), Workers: cleaners, Reconcile: d.clean},
	)
}

// begin serves what is established already.
func (d *Definitions) begin(ctx context.Context) error {
	select {
	case <-d.registry.Store().Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	all, err := client.List[*apiextensionsv1.CustomResourceDefinition](ctx, d.client, client.Query{})
	if err != nil {
		return fmt.Errorf("cannot list definitions: %w", err)
	}
	for _, crd := range all {
		if !kind.Established(crd) {
			continue
		}
		if err := d.define(ctx, crd); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d.log.Error("cannot serve a definition", "definition", crd.Name, "error", err)
		}
	}
	return nil
}

// concerned returns the definitions to look at: others of the group too, when names may have become free.
func (d *Definitions) concerned(e client.Event) []loop.Key {
	keys := []loop.Key{loop.KeyOf(e.Object)}
	crd := e.Object.(*apiextensionsv1.CustomResourceDefinition)
	if old, ok := e.Old.(*apiextensionsv1.CustomResourceDefinition); e.Type == watch.Deleted || ok && !apiequality.Semantic.DeepEqual(old.Status.AcceptedNames, crd.Status.AcceptedNames) {
		all, err := client.List[*apiextensionsv1.CustomResourceDefinition](context.Background(), d.client, client.Query{})
		if err != nil {
			d.log.Warn("cannot list definitions", "error", err)
		}
		for _, other := range all {
			if other.Spec.Group == crd.Spec.Group && other.Name != crd.Name {
				keys = append(keys, loop.KeyOf(other))
			}
		}
	}
	return keys
}

// reconcile accepts a definition's names, serves it, and says so, in this order: who sees that it is established
// finds it served.
func (d *Definitions) reconcile(ctx context.Context, key loop.Key) (loop.Result, error) {
	crd, err := client.Get[*apiextensionsv1.CustomResourceDefinition](ctx, d.client, "", key.Name)
	if apierrors.IsNotFound(err) {
		d.undefine(key.Name)
		return loop.Result{}, nil
	}
	if err != nil {
		return loop.Result{}, err
	}
	all, err := client.List[*apiextensionsv1.CustomResourceDefinition](ctx, d.client, client.Query{})
	if err != nil {
		return loop.Result{}, err
	}
	next := crd.DeepCopy()
	accept(next, all)
	approve(next)
	if apihelpers.IsCRDConditionTrue(next, apiextensionsv1.NamesAccepted) || kind.Established(next) {
		if err := d.define(ctx, next); err != nil {
			return loop.Result{}, err
		}
		establish(next)
	}
	if apiequality.Semantic.DeepEqual(next.Status, crd.Status) {
		return loop.Result{}, nil
	}
	_, err = client.UpdateStatus(ctx, d.client, next)
	if apierrors.IsNotFound(err) {
		return loop.Result{}, nil
	}
	return loop.Result{}, err
}

// overlapsBuiltin says whether a definition names a resource that every server has. It is accepted, as Kubernetes does,
// and never served: its objects would be those of the other kind.
func overlapsBuiltin(crd *apiextensionsv1.CustomResourceDefinition) bool {
	gr := schema.GroupResource{Group: crd.Spec.Group, Resource: crd.Spec.Names.Plural}
	return slices.ContainsFunc(kind.Builtin().Served(), func(k *kind.Kind) bool { return k.GroupResource() == gr })
}

// define serves a definition as it is now.
func (d *Definitions) define(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	if overlapsBuiltin(crd) {
		return nil
	}
	d.defining.Lock()
	defer d.defining.Unlock()
	now := &defined{uid: crd.UID, generation: crd.Generation, names: crd.Status.AcceptedNames, terminating: crd.DeletionTimestamp != nil}
	d.mu.Lock()
	had := d.served[crd.Name]
	d.mu.Unlock()
	if had != nil {
		if had.same(now) {
			return nil
		}
		if had.uid != now.uid {
			d.undefine(crd.Name)
		}
	}
	convert, err := d.converter(crd)
	if err != nil {
		return err
	}
	made, err := kinds(crd.DeepCopy(), d.registry.MergeSchema, convert)
	if err != nil {
		return err
	}
	if err := d.registry.Define(ctx, made...); err != nil {
		return fmt.Errorf("cannot serve %s: %w", crd.Name, err)
	}
	now.stored = made[0]
	d.mu.Lock()
	defer d.mu.Unlock()
	d.served[crd.Name] = now
	return nil
}

func (d *Definitions) undefine(name string) {
	d.mu.Lock()
	had := d.served[name]
	delete(d.served, name)
	d.mu.Unlock()
	if had != nil {
		d.registry.Undefine(had.stored)
	}
}
