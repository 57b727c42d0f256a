package registry

import (
	"context"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// present returns a stored item in the version of k.
func present(ctx context.Context, k *kind.Kind, item *store.Item) (*store.Item, error) {
	if k.FromStored == nil {
		return item, nil
	}
	items := []*store.Item{item}
	if err := presentAll(ctx, k, items); err != nil {
		return nil, err
	}
	return items[0], nil
}

// presentAll replaces items by themselves in the version of k; what has to be converted is converted at once.
func presentAll(ctx context.Context, k *kind.Kind, items []*store.Item) error {
	if k.FromStored == nil {
		return nil
	}
	var at []int
	var objs []kind.Object
	for i, item := range items {
		if v := item.View(k); v != nil {
			items[i] = v
			continue
		}
		at, objs = append(at, i), append(objs, item.Object)
	}
	if len(objs) == 0 {
		return nil
	}
	converted, err := k.FromStored(ctx, objs)
	if err != nil {
		return asStatus(err)
	}
	for n, i := range at {
		items[i] = items[i].SetView(k, converted[n])
	}
	return nil
}

// PresentEvents puts the objects of a watch's events into the version of k. The batch must be the caller's.
func (r *Registry) PresentEvents(ctx context.Context, k *kind.Kind, batch []store.Event) error {
	if k.FromStored == nil {
		return nil
	}
	items := make([]*store.Item, 0, len(batch))
	for i := range batch {
		if batch[i].Item != nil {
			items = append(items, batch[i].Item)
		}
	}
	if err := presentAll(ctx, k, items); err != nil {
		return err
	}
	for i := range batch {
		if batch[i].Item != nil {
			batch[i].Item, items = items[0], items[1:]
		}
	}
	return nil
}

// toStored returns an object of k's version in the form that the store keeps.
func toStored(ctx context.Context, k *kind.Kind, obj kind.Object) (kind.Object, error) {
	if k.ToStored == nil {
		return obj, nil
	}
	stored, err := k.ToStored(ctx, obj)
	return stored, asStatus(err)
}
