package registry

import (
	"context"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// Get reads one object; resourceVersion is as in metav1.GetOptions. Without one a webhook that converts is asked each time.
// All else, lists and watches too, is answered with what it said last of an object as it is, as in Kubernetes.
func (r *Registry) Get(ctx context.Context, k *kind.Kind, namespace, name, resourceVersion string) (*store.Item, error) {
	item, err := r.store.Get(ctx, k.StoredKind(), namespace, name, resourceVersion)
	if err != nil {
		return nil, asStatus(err)
	}
	if resourceVersion == "" && k.Asks != nil && k.Asks(item.Object) {
		converted, err := k.FromStored(ctx, []kind.Object{item.Object})
		if err != nil {
			return nil, asStatus(err)
		}
		return item.SetView(k, converted[0]), nil
	}
	return present(ctx, k, item)
}

// ListQuery is what a list, a watch or a deletecollection asks for. Nil selectors select everything.
type ListQuery struct {
	Namespace            string
	Labels               labels.Selector
	Fields               fields.Selector
	ResourceVersion      string
	ResourceVersionMatch string
	Limit                int64
	Continue             string
}

// WatchQuery adds what only a watch has.
type WatchQuery struct {
	ListQuery
	SendInitialEvents bool
	// NoInitialEvents begins a watch without a resourceVersion at what is current, not with the objects.
	NoInitialEvents bool
	AllowBookmarks  bool
	BookmarkEvery   time.Duration
}

// fieldIndexes name the index that answers an exact field selector without a scan.
var fieldIndexes = map[string]string{"spec.nodeName": "nodeName"}

// List reads a page.
func (r *Registry) List(ctx context.Context, k *kind.Kind, q ListQuery) (*store.List, error) {
	sel, err := selectionOf(k, q)
	if err != nil {
		return nil, err
	}
	list, err := r.store.List(ctx, k.StoredKind(), store.ListQuery{
		Namespace: sel.namespace, Match: sel.match, Labels: sel.labels, Index: sel.index, Value: sel.value,
		ResourceVersion: q.ResourceVersion, ResourceVersionMatch: q.ResourceVersionMatch, Limit: q.Limit, Continue: q.Continue,
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return list, presentAll(ctx, k, list.Items)
}

// Watch opens a watch; the caller stops it. Its events are as the store has them: see PresentEvents.
func (r *Registry) Watch(ctx context.Context, k *kind.Kind, q WatchQuery) (*store.Watch, error) {
	sel, err := selectionOf(k, q.ListQuery)
	if err != nil {
		return nil, err
	}
	if q.NoInitialEvents && (q.ResourceVersion == "" || q.ResourceVersion == "0") {
		none := func(kind.Object) bool { return false }
		now, err := r.store.List(ctx, k.StoredKind(), store.ListQuery{Namespace: sel.namespace, Match: none, ResourceVersion: q.ResourceVersion})
		if err != nil {
			return nil, asStatus(err)
		}
		q.ResourceVersion = strconv.FormatInt(now.Revision, 10)
	}
	w, err := r.store.Watch(ctx, k.StoredKind(), store.WatchQuery{
		Namespace: sel.namespace, Name: sel.name, Index: sel.index, Value: sel.value, Match: sel.match, ResourceVersion: q.ResourceVersion,
		SendInitialEvents: q.SendInitialEvents, AllowBookmarks: q.AllowBookmarks, BookmarkEvery: q.BookmarkEvery,
	})
	return w, asStatus(err)
}

// selected is a query as the store takes it.
type selected struct {
	namespace, name string
	match           func(kind.Object) bool
	labels          map[string]string // that match asks for
	index, value    string
}

// selectionOf turns selectors into the cheapest question to the store.
func selectionOf(k *kind.Kind, q ListQuery) (selected, error) {
	s := selected{namespace: q.Namespace, labels: exactLabels(q.Labels)}
	byLabel := q.Labels != nil && !q.Labels.Empty()
	byField := q.Fields != nil && !q.Fields.Empty()
	if byField {
		if err := knownFields(k, q.Fields); err != nil {
			return s, err
		}
		if name, ok := q.Fields.RequiresExactMatch("metadata.name"); ok {
			s.name = name
		}
		if ns, ok := q.Fields.RequiresExactMatch("metadata.namespace"); ok && s.namespace == "" {
			s.namespace = ns
		}
		for path, index := range fieldIndexes {
			if v, ok := q.Fields.RequiresExactMatch(path); ok && v != "" && k.StoredKind().Indexes[index] != nil {
				s.index, s.value = index, v
			}
		}
	}
	switch {
	case byLabel && byField:
		s.match = func(o kind.Object) bool { return matchLabels(q.Labels, o) && matchFields(k, q.Fields, o) }
	case byLabel:
		s.match = func(o kind.Object) bool { return matchLabels(q.Labels, o) }
	case byField:
		s.match = func(o kind.Object) bool { return matchFields(k, q.Fields, o) }
	}
	return s, nil
}

// exactLabels are those that a selector asks for with their values.
func exactLabels(sel labels.Selector) map[string]string {
	if sel == nil {
		return nil
	}
	exact := map[string]string{}
	asked, _ := sel.Requirements()
	for _, r := range asked {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.ValuesUnsorted(); len(values) == 1 {
				exact[r.Key()] = values[0]
			}
		}
	}
	return exact
}

func matchLabels(sel labels.Selector, o kind.Object) bool {
	return sel.Matches(labels.Set(o.GetLabels()))
}

// matchFields compares names first: most selectors ask for nothing else.
func matchFields(k *kind.Kind, sel fields.Selector, o kind.Object) bool {
	var set fields.Set
	for _, req := range sel.Requirements() {
		var got string
		switch req.Field {
		case "metadata.name":
			got = o.GetName()
		case "metadata.namespace":
			got = o.GetNamespace()
		default:
			if set == nil {
				set = k.Fields(o)
			}
			got = set[req.Field]
		}
		if (got == req.Value) == (req.Operator == "!=") {
			return false
		}
	}
	return true
}

func knownFields(k *kind.Kind, sel fields.Selector) error {
	var known fields.Set
	if k.Fields != nil {
		known = k.Fields(k.StoredKind().New())
	}
	for _, req := range sel.Requirements() {
		// which kinds have a namespace does not matter where nothing but the metadata is selected by
		if req.Field == "metadata.name" || req.Field == "metadata.namespace" && (k.Namespaced || known == nil && !k.Custom) {
			continue
		}
		if _, ok := known[req.Field]; !ok {
			return apierrors.NewBadRequest(unknownField(k, req.Field))
		}
	}
	return nil
}

// unknownField says that a kind can not be selected by a field, in Kubernetes' words.
func unknownField(k *kind.Kind, name string) string {
	switch {
	case k.GroupKind() == schema.GroupKind{Group: "batch", Kind: "Job"}:
		return fmt.Sprintf("field label %q not supported for Job", name)
	case k.Fields == nil && !k.Custom:
		return fmt.Sprintf(`%q is not a known field selector: only "metadata.name", "metadata.namespace"`, name)
	}
	return "field label not supported: " + name
}
