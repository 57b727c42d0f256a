package registry

import (
	"context"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Define begins to serve a resource, or serves it in other versions or by other rules from now on: the stored
// kind first, then its further versions. Watches of it begin anew.
func (r *Registry) Define(ctx context.Context, kinds ...*kind.Kind) error {
	stored := kinds[0]
	if err := r.store.Add(ctx, stored); err != nil {
		return err
	}
	r.kinds.Set(stored.GroupResource(), kinds...)
	r.managed.forget(stored.GroupResource(), kinds...)
	r.store.EndWatches(stored)
	return nil
}

// Undefine ceases to serve a resource. Objects that are still stored stay in etcd.
func (r *Registry) Undefine(stored *kind.Kind) {
	r.kinds.Remove(stored.GroupResource())
	r.store.Drop(stored)
	r.managed.forget(stored.GroupResource())
}
