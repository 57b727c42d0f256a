package kind

import "context"

// Convert returns an object of the version from in the version to of the same resource. It does not change obj and may
// return it, or an object that shares memory with it. An object of a kind that is defined at run time has to say its
// type.
func Convert(ctx context.Context, obj Object, from, to *Kind) (Object, error) {
	if from.GroupVersionKind == to.GroupVersionKind {
		return obj, nil
	}
	if to.FromVersion != nil {
		return to.FromVersion(ctx, obj)
	}
	if from.ToStored != nil {
		var err error
		if obj, err = from.ToStored(ctx, obj); err != nil {
			return nil, err
		}
	}
	if to.FromStored == nil {
		return obj, nil
	}
	out, err := to.FromStored(ctx, []Object{obj})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}
