package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// Get reads one object. atLeast is the client's resourceVersion parameter: "" means as current as etcd, "0"
// whatever the cache has, a number not older than it.
func (s *Store) Get(ctx context.Context, k *kind.Kind, namespace, name, atLeast string) (*Item, error) {
	c, err := s.cacheOf(k)
	if err != nil {
		return nil, err
	}
	if err := s.reach(ctx, atLeast); err != nil {
		return nil, err
	}
	item, err := c.get(keyOf(k, namespace, name))
	if err != nil {
		return nil, err
	}
	if item == nil {
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	return item, nil
}

// reach waits until the caches are as new as a resourceVersion parameter asks.
func (s *Store) reach(ctx context.Context, resourceVersion string) error {
	if resourceVersion == "" {
		return s.fresh(ctx)
	}
	rev, err := parseRevision(resourceVersion)
	if err != nil {
		return err
	}
	return s.atLeast(ctx, rev)
}

func parseRevision(s string) (int64, error) {
	rev, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: resourceVersion: Invalid value: %q: %v", s, err))
	}
	return int64(rev), nil
}

// ListQuery is what a list asks for.
type ListQuery struct {
	Namespace string
	// Match is called for each object; nil means all. A list's limit counts matching objects.
	Match func(kind.Object) bool
	// Labels are those that an object must have for Match to be called; what they are not enough for, Match refuses.
	Labels map[string]string
	// Index and Value use a key of kind.Kind.Indexes instead of a scan. The answer is not paged.
	Index, Value string

	ResourceVersion      string // as metav1.ListOptions
	ResourceVersionMatch string
	Limit                int64
	Continue             string
}

// List is one page.
type List struct {
	Items     []*Item
	Revision  int64  // resourceVersion of the list
	Continue  string // token of the next page, "" at the end
	Remaining *int64 // objects behind this page when known
}

// List reads a page; all pages of one list come from one consistent snapshot, or end in 410 when it is gone. The
// 410 has a token in its Continue field with which the rest can be read as it is now.
func (s *Store) List(ctx context.Context, k *kind.Kind, q ListQuery) (*List, error) {
	c, err := s.cacheOf(k)
	if err != nil {
		return nil, err
	}
	if q.Continue != "" {
		return s.listOn(ctx, c, q)
	}
	exact, err := exactRevision(q)
	if err != nil {
		return nil, err
	}
	if exact > 0 {
		if err := s.atLeast(ctx, exact); err != nil {
			return nil, err
		}
		return s.listAt(ctx, c, q, exact, "", 0)
	}
	if err := s.reach(ctx, q.ResourceVersion); err != nil {
		return nil, err
	}
	if q.Index != "" {
		items, rev, err := c.selected(q.Index, q.Value, q.Namespace)
		if err != nil {
			return nil, err
		}
		return &List{Items: matching(items, q.Match), Revision: rev}, nil
	}
	t, rev, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	return c.page(t, rev, q, "", 0), nil
}

// listOn reads a further page.
func (s *Store) listOn(ctx context.Context, c *cache, q ListQuery) (*List, error) {
	t, err := decodeToken(q.Continue)
	if err != nil {
		return nil, err
	}
	if q.ResourceVersion != "" && q.ResourceVersion != "0" {
		return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	// As in Kubernetes, a token of a namespaced list starts within the namespace.
	start := c.prefixOf(q.Namespace) + t.Start
	if t.Revision == anyRevision {
		if err := s.fresh(ctx); err != nil {
			return nil, err
		}
		snap, rev, err := c.snapshot()
		if err != nil {
			return nil, err
		}
		return c.page(snap, rev, q, start, 0), nil
	}
	if err := s.atLeast(ctx, t.Revision); err != nil {
		return nil, err
	}
	list, err := s.listAt(ctx, c, q, t.Revision, start, t.Left)
	if apierrors.IsResourceExpired(err) {
		expired := apierrors.NewResourceExpired(continueExpired)
		expired.ErrStatus.Continue = token{Revision: anyRevision, Start: t.Start}.encode()
		return nil, expired
	}
	return list, err
}

// exactRevision returns the revision that a query asks for and no other, or 0. A number with a limit and without
// a match means exactly that revision, as it always did in Kubernetes.
func exactRevision(q ListQuery) (int64, error) {
	rv := q.ResourceVersion
	switch metav1.ResourceVersionMatch(q.ResourceVersionMatch) {
	case metav1.ResourceVersionMatchExact:
		if rv == "" || rv == "0" {
			return 0, apierrors.NewBadRequest("resourceVersionMatch Exact is forbidden without a resourceVersion above 0")
		}
		return parseRevision(rv)
	case metav1.ResourceVersionMatchNotOlderThan:
		if rv == "" {
			return 0, apierrors.NewBadRequest("resourceVersionMatch is forbidden unless resourceVersion is provided")
		}
		return 0, nil
	case "":
		if q.Limit > 0 && rv != "" && rv != "0" {
			return parseRevision(rv)
		}
		return 0, nil
	}
	return 0, apierrors.NewBadRequest(fmt.Sprintf("resourceVersionMatch: Unsupported value: %q", q.ResourceVersionMatch))
}

// listAt reads a page as it was at a revision: from memory, or from etcd's history, which counts by itself; known is as page
// has it.
func (s *Store) listAt(ctx context.Context, c *cache, q ListQuery, rev int64, start string, known int64) (*List, error) {
	if t := c.pinned(rev); t != nil {
		if err := c.intact(); err != nil {
			return nil, err
		}
		return c.page(t, rev, q, start, known), nil
	}
	return s.history(ctx, c, q, rev, start)
}

// page cuts a page out of a snapshot. known is how many objects there are from start on, 0 when that has not been counted:
// counting is a walk over all of them, and done once a list.
func (c *cache) page(t *snapshot, rev int64, q ListQuery, start string, known int64) *List {
	prefix := c.prefixOf(q.Namespace)
	list := &List{Revision: rev}
	if q.Match == nil && (q.Limit > 0 || prefix == "" && start == "") {
		list.Items = make([]*Item, 0, pageCapacity(t.tree.Len(), q.Limit))
	}
	counted := q.Match == nil && known > q.Limit // known is from the client, and may be nonsense
	var left int64                               // objects behind the page; counted only when all match
	var marks labelMarks
	if q.Match != nil {
		marks = marksOf(q.Labels)
	}
	t.each(max(start, prefix), marks, func(it *Item) bool {
		if !strings.HasPrefix(it.key, prefix) {
			return false
		}
		if q.Match != nil && (!it.marks.has(marks) || !q.Match(it.Object)) {
			return true
		}
		if q.Limit > 0 && int64(len(list.Items)) >= q.Limit {
			left++
			return q.Match == nil && !counted
		}
		list.Items = append(list.Items, it)
		return true
	})
	if left > 0 {
		if counted {
			left = known - int64(len(list.Items))
		}
		if q.Match == nil {
			list.Remaining = &left
		}
		list.Continue = c.next(list, q)
		c.pin(rev, t)
	}
	return list
}

func pageCapacity(n int, limit int64) int {
	if limit > 0 && int64(n) > limit {
		return int(limit)
	}
	return n
}

// next returns the token behind the last item of a page.
func (c *cache) next(list *List, q ListQuery) string {
	last := list.Items[len(list.Items)-1].key
	t := token{Revision: list.Revision, Start: strings.TrimPrefix(last, c.prefixOf(q.Namespace)) + "\x00"}
	if list.Remaining != nil {
		t.Left = *list.Remaining
	}
	return t.encode()
}

// historyPage is how many keys one request to etcd's history reads.
const historyPage = 1000

// history reads a page from etcd as it was at a revision.
func (s *Store) history(ctx context.Context, c *cache, q ListQuery, rev int64, start string) (*List, error) {
	prefix := s.keyOf(c, c.prefixOf(q.Namespace))
	from := s.keyOf(c, max(start, c.prefixOf(q.Namespace)))
	list := &List{Revision: rev}
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
			clientv3.WithRev(rev), clientv3.WithLimit(historyPage))
		if err != nil {
			return nil, apiError("list", c.name, err)
		}
		for i, kv := range resp.Kvs {
			item, err := s.decode(c, kv)
			if err != nil {
				return nil, c.brokenError(err)
			}
			if q.Match != nil && !q.Match(item.Object) {
				continue
			}
			if q.Limit > 0 && int64(len(list.Items)) >= q.Limit {
				if q.Match == nil {
					left := resp.Count - int64(i)
					list.Remaining = &left
				}
				list.Continue = c.next(list, q)
				return list, nil
			}
			list.Items = append(list.Items, item)
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return list, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func matching(items []*Item, match func(kind.Object) bool) []*Item {
	if match == nil {
		return items
	}
	out := items[:0]
	for _, it := range items {
		if match(it.Object) {
			out = append(out, it)
		}
	}
	return out
}

// intact is whole for callers without the lock.
func (c *cache) intact() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.whole()
}
