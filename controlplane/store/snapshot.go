package store

import (
	"sort"
	"sync/atomic"
)

// snapshot is one state of a cache. It does not change, and may be read by many at once.
type snapshot struct {
	tree  *tree
	asked atomic.Bool // for labels
	row   atomic.Pointer[row]
}

// row has a snapshot's objects in the order of the tree. Most of what a list by label does is to pass objects over: here that
// is a walk over consecutive memory, and in the tree one over as many places of it as there are objects.
type row struct {
	marks []labelMarks
	items []*Item
}

// each calls f for the objects from a key on, in order, as long as it returns true. It may leave out those that lack one of
// the marks.
func (s *snapshot) each(from string, marks labelMarks, f func(*Item) bool) {
	r := s.inRow(marks)
	if r == nil {
		s.tree.AscendGreaterOrEqual(&Item{key: from}, f)
		return
	}
	for i := sort.Search(len(r.items), func(i int) bool { return r.items[i].key >= from }); i < len(r.items); i++ {
		if r.marks[i].has(marks) && !f(r.items[i]) {
			return
		}
	}
}

// inRow returns the snapshot's row, nil where a walk over the tree is better: without marks, and the first time with any, since
// to make the row is such a walk, and the snapshots of a cache that changes all the time are not asked twice.
func (s *snapshot) inRow(marks labelMarks) *row {
	if marks == 0 || !s.asked.Swap(true) {
		return nil
	}
	if r := s.row.Load(); r != nil {
		return r
	}
	r := &row{marks: make([]labelMarks, 0, s.tree.Len()), items: make([]*Item, 0, s.tree.Len())}
	s.tree.Ascend(func(it *Item) bool {
		r.marks, r.items = append(r.marks, it.marks), append(r.items, it)
		return true
	})
	s.row.Store(r)
	return r
}
