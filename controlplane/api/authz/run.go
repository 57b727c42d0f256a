package authz

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Run keeps the caches from watches and reconciles the default roles until ctx ends.
func (a *Authorizer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var synced []chan struct{}
	follow := func(obj kind.Object, handle func(client.Event)) {
		k := a.kinds.ByType(obj)
		if k == nil {
			return
		}
		done := make(chan struct{}) // closed by Watch once the objects that exist were handled
		synced = append(synced, done)
		g.Go(func() error { return a.client.Watch(ctx, k, done, handle) })
	}
	follow(&rbacv1.ClusterRole{}, a.onRole)
	follow(&rbacv1.Role{}, a.onRole)
	follow(&rbacv1.ClusterRoleBinding{}, a.onBinding)
	follow(&rbacv1.RoleBinding{}, a.onBinding)
	follow(&corev1.Pod{}, a.nodes.onPod)
	g.Go(func() error {
		for _, done := range synced {
			select {
			case <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := a.retry(ctx, "cannot reconcile default roles", a.reconcileDefaults); err != nil {
			return err
		}
		a.ready.Store(true)
		g.Go(func() error {
			return a.retry(ctx, "cannot reconcile further default roles", a.reconcileRest)
		})
		return a.aggregate(ctx)
	})
	g.Go(func() error {
		return a.retry(ctx, "cannot reconcile further default roles", a.reconcileRest)
	})
	return g.Wait()
}

// retry calls f until it succeeds or ctx ends: another server may write the same objects, or the store be away
// for a moment.
func (a *Authorizer) retry(ctx context.Context, what string, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.log.Warn(what, "error", err)
		timer := time.NewTimer(retryAfter)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (a *Authorizer) onRole(e client.Event) {
	gone := e.Type == watch.Deleted
	switch o := e.Object.(type) {
	case *rbacv1.ClusterRole:
		if gone {
			a.rbac.deleteRole("", o.Name)
		} else {
			a.rbac.setRole("", o.Name, o.Rules)
		}
		a.aggregateSoon()
	case *rbacv1.Role:
		if gone {
			a.rbac.deleteRole(o.Namespace, o.Name)
		} else {
			a.rbac.setRole(o.Namespace, o.Name, o.Rules)
		}
	}
}

func (a *Authorizer) onBinding(e client.Event) {
	gone := e.Type == watch.Deleted
	switch o := e.Object.(type) {
	case *rbacv1.ClusterRoleBinding:
		if gone {
			a.rbac.deleteBinding("", o.Name)
		} else {
			a.rbac.setBinding("", o.Name, o.RoleRef, o.Subjects)
		}
	case *rbacv1.RoleBinding:
		if gone {
			a.rbac.deleteBinding(o.Namespace, o.Name)
		} else {
			a.rbac.setBinding(o.Namespace, o.Name, o.RoleRef, o.Subjects)
		}
	}
}
