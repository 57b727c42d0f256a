package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pages reads a list to its end and returns the keys; between two pages it calls between.
func pages(t *testing.T, s *Store, q ListQuery, between func(page *List)) []string {
	t.Helper()
	var out []string
	for {
		list, err := s.List(t.Context(), configMaps, q)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, names(list.Items)...)
		if list.Continue == "" {
			return out
		}
		q.Continue = list.Continue
		if between != nil {
			between(list)
		}
	}
}

func TestListPages(t *testing.T) {
	s := newStore(t, Options{})
	var all, in1 []string
	for i := range 25 {
		cm := configMap(fmt.Sprint("ns-", i%2), numbered(i), fmt.Sprint(i%5))
		cm.Labels["five"] = fmt.Sprint(i % 5)
		mustCreate(t, s, configMaps, cm)
		all = append(all, cm.Namespace+"/"+cm.Name)
	}
	slices.Sort(all)
	settle(t, s)
	for _, k := range all {
		if k[:5] == "ns-1/" {
			in1 = append(in1, k)
		}
	}
	var match2 []string
	for i := 2; i < 25; i += 5 {
		match2 = append(match2, fmt.Sprintf("ns-%d/%s", i%2, numbered(i)))
	}
	slices.Sort(match2)
	two := map[string]string{"five": "2"}
	for name, tc := range map[string]struct {
		query ListQuery
		want  []string
	}{
		"all":             {ListQuery{}, all},
		"any":             {ListQuery{ResourceVersion: "0"}, all},
		"pages":           {ListQuery{Limit: 4}, all},
		"even pages":      {ListQuery{Limit: 5}, all},
		"namespace":       {ListQuery{Namespace: "ns-1"}, in1},
		"namespace pages": {ListQuery{Namespace: "ns-1", Limit: 5}, in1},
		"no namespace":    {ListQuery{Namespace: "ns", Limit: 5}, nil},
		"match":           {ListQuery{Match: valueIs("2")}, match2},
		"match pages":     {ListQuery{Match: valueIs("2"), Limit: 2}, match2},
		"labels":          {ListQuery{Match: valueIs("2"), Labels: two}, match2},
		"labels pages":    {ListQuery{Match: valueIs("2"), Labels: two, Limit: 2}, match2},
		"labels in one":   {ListQuery{Match: valueIs("2"), Labels: two, Namespace: "ns-0"}, match2[:3]},
		"labels of none":  {ListQuery{Match: valueIs("2"), Labels: two, Namespace: "ns", Limit: 2}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // a snapshot that is asked for labels again answers from its row
				if got := pages(t, s, tc.query, nil); !slices.Equal(got, tc.want) {
					t.Errorf("listed %q\nwant   %q", got, tc.want)
				}
			}
		})
	}
	c, err := s.cacheOf(configMaps)
	if err != nil {
		t.Fatal(err)
	}
	if snap, _, err := c.snapshot(); err != nil || snap.row.Load() == nil {
		t.Error("lists by label walk the tree every time", err)
	}
	var left []int64 // behind each page but the last
	pages(t, s, ListQuery{Limit: 10}, func(page *List) {
		if page.Remaining != nil {
			left = append(left, *page.Remaining)
		}
	})
	if !slices.Equal(left, []int64{15, 5}) {
		t.Errorf("remaining behind the pages: %v, want 15 and 5", left)
	}
	first, err := s.List(t.Context(), configMaps, ListQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := decodeToken(first.Continue)
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []int64{-1, 1, math.MaxInt64} {
		forged.Left = known
		if got := pages(t, s, ListQuery{Limit: 10, Continue: forged.encode()}, nil); !slices.Equal(got, all[10:]) {
			t.Errorf("with a token that says that %d are left, listed %q\nwant %q", known, got, all[10:])
		}
	}
	list, err := s.List(t.Context(), configMaps, ListQuery{Limit: 1, Match: valueIs("2")})
	if err != nil || list.Remaining != nil {
		t.Errorf("remaining with a filter = %v, %v; want it unknown", list.Remaining, err)
	}
}

// TestListPagesAreOneSnapshot changes everything between pages; it reads from memory, and from etcd when the
// snapshot is dropped.
func TestListPagesAreOneSnapshot(t *testing.T) {
	for _, tc := range []struct {
		name string
		drop bool
	}{{"memory", false}, {"history", true}} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t, Options{})
			var all []string
			for i := range 10 {
				mustCreate(t, s, configMaps, configMap("default", numbered(i), "old"))
				all = append(all, "default/"+numbered(i))
			}
			var revision int64
			q := ListQuery{Namespace: "default", Limit: 3, Match: valueIs("old")}
			got := pages(t, s, q, func(page *List) {
				if revision != 0 && page.Revision != revision {
					t.Errorf("a page has revision %d, the one before %d", page.Revision, revision)
				}
				if revision == 0 {
					for i := range 10 {
						mustUpdate(t, s, numbered(i), "new")
					}
					mustDelete(t, s, numbered(7))
					mustCreate(t, s, configMaps, configMap("default", "cm-00005a", "old"))
				}
				revision = page.Revision
				if tc.drop {
					s.caches.Load().byPath["core/configmaps"].mu.Lock()
					s.caches.Load().byPath["core/configmaps"].pins.clear()
					s.caches.Load().byPath["core/configmaps"].mu.Unlock()
				}
			})
			if !slices.Equal(got, all) {
				t.Errorf("listed %q\nwant   %q", got, all)
			}
		})
	}
}

func TestListContinueExpired(t *testing.T) {
	s := newStore(t, Options{})
	for i := range 6 {
		mustCreate(t, s, configMaps, configMap("default", numbered(i), "1"))
	}
	first, err := s.List(t.Context(), configMaps, ListQuery{Namespace: "default", Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	last := mustDelete(t, s, numbered(3))
	s.compactTo(t.Context(), last.Revision)
	settle(t, s)
	s.caches.Load().byPath["core/configmaps"].mu.Lock()
	s.caches.Load().byPath["core/configmaps"].pins.clear()
	s.caches.Load().byPath["core/configmaps"].mu.Unlock()
	_, err = s.List(t.Context(), configMaps, ListQuery{Namespace: "default", Limit: 2, Continue: first.Continue})
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsResourceExpired(err) || status.ErrStatus.Continue == "" {
		t.Fatalf("continue behind a compaction = %v, want 410 with a token", err)
	}
	rest := pages(t, s, ListQuery{Namespace: "default", Limit: 2, Continue: status.ErrStatus.Continue}, nil)
	if want := []string{"default/" + numbered(2), "default/" + numbered(4), "default/" + numbered(5)}; !slices.Equal(rest, want) {
		t.Errorf("the inconsistent rest = %q, want %q", rest, want)
	}
}

func TestResourceVersionMatch(t *testing.T) {
	s := newStore(t, Options{})
	first := mustCreate(t, s, configMaps, configMap("default", "a", "1"))
	second := mustCreate(t, s, configMaps, configMap("default", "b", "1"))
	settle(t, s)
	early, late, future := revision(first.Revision), revision(second.Revision), revision(second.Revision+1000)
	both, one := []string{"default/a", "default/b"}, []string{"default/a"}
	for name, tc := range map[string]struct {
		query   ListQuery
		want    []string
		refused func(error) bool
	}{
		"not older, unset":           {ListQuery{ResourceVersion: early}, both, nil},
		"not older":                  {ListQuery{ResourceVersion: early, ResourceVersionMatch: "NotOlderThan"}, both, nil},
		"not older than the newest":  {ListQuery{ResourceVersion: late, ResourceVersionMatch: "NotOlderThan", Limit: 5}, both, nil},
		"exact":                      {ListQuery{ResourceVersion: early, ResourceVersionMatch: "Exact"}, one, nil},
		"exact newest":               {ListQuery{ResourceVersion: late, ResourceVersionMatch: "Exact"}, both, nil},
		"exact by limit":             {ListQuery{ResourceVersion: early, Limit: 5}, one, nil},
		"exact without a version":    {ListQuery{ResourceVersionMatch: "Exact"}, nil, apierrors.IsBadRequest},
		"exact 0":                    {ListQuery{ResourceVersionMatch: "Exact", ResourceVersion: "0"}, nil, apierrors.IsBadRequest},
		"match without a version":    {ListQuery{ResourceVersionMatch: "NotOlderThan"}, nil, apierrors.IsBadRequest},
		"unknown match":              {ListQuery{ResourceVersion: "1", ResourceVersionMatch: "Newest"}, nil, apierrors.IsBadRequest},
		"not a number":               {ListQuery{ResourceVersion: "-1"}, nil, apierrors.IsBadRequest},
		"future":                     {ListQuery{ResourceVersion: future}, nil, isTooLarge},
		"continue and version":       {ListQuery{ResourceVersion: early, Continue: token{Revision: 1, Start: "a"}.encode()}, nil, apierrors.IsBadRequest},
		"continue that is no token":  {ListQuery{Continue: "x"}, nil, apierrors.IsBadRequest},
		"continue out of the future": {ListQuery{Continue: token{Revision: second.Revision + 1000, Start: "a"}.encode()}, nil, isTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := s.List(t.Context(), configMaps, tc.query)
			if tc.refused != nil {
				if !tc.refused(err) {
					t.Errorf("error = %v", err)
				}
				return
			}
			if err != nil || !slices.Equal(names(list.Items), tc.want) {
				t.Errorf("listed %v, %v; want %q", list, err, tc.want)
			}
		})
	}
}

func isTooLarge(err error) bool {
	return apierrors.IsTimeout(err) && apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

func FuzzToken(f *testing.F) {
	f.Add(token{Revision: 5, Start: "ns/name\x00"}.encode())
	f.Add(token{Revision: anyRevision, Start: "name\x00"}.encode())
	f.Add(token{Revision: 1, Start: "../../secrets/default/a"}.encode())
	f.Add(token{Revision: 5, Start: "name\x00", Left: -1}.encode())
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := decodeToken(s)
		if err != nil {
			if !apierrors.IsBadRequest(err) {
				t.Errorf("decodeToken(%q) = %v, want 400", s, err)
			}
			return
		}
		if got.Start == "" || got.Start[0] == '/' || got.Revision == 0 {
			t.Errorf("decodeToken(%q) = %+v", s, got)
		}
		if parts := strings.Split(got.Start, "/"); slices.Contains(parts, "..") || slices.Contains(parts, ".") {
			t.Errorf("decodeToken(%q) lets %q through", s, got.Start)
		}
		again, err := decodeToken(got.encode())
		if err != nil || again != (token{Version: tokenVersion, Revision: got.Revision, Start: got.Start, Left: got.Left}) {
			t.Errorf("decodeToken(encode(%+v)) = %+v, %v", got, again, err)
		}
	})
}
