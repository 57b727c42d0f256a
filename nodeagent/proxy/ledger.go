package proxy

import "slices"

// ledger knows what the kernel shall have and what it was last told, and so what has to change. It counts, since
// frontends share pickers and hairpin elements. It is not safe for concurrent use.
type ledger struct {
	frontends map[frontend]compiled
	want      map[elementKey]wanted
	have      map[elementKey]string
	wantPick  map[picker]int
	havePick  map[picker]bool
	// touched and touchedPick hold everything in which want and have may differ.
	touched     map[elementKey]bool
	touchedPick map[picker]bool
}

type wanted struct {
	value string
	count int
}

// change is one transaction: pickers are made before the elements that point to them, and removed after those.
type change struct {
	addPickers, delPickers []picker
	del                    []element // with the values that the kernel has
	add                    []element
}

func (c change) empty() bool {
	return len(c.addPickers)+len(c.delPickers)+len(c.del)+len(c.add) == 0
}

func newLedger() *ledger {
	return &ledger{
		frontends: map[frontend]compiled{}, want: map[elementKey]wanted{}, have: map[elementKey]string{},
		wantPick: map[picker]int{}, havePick: map[picker]bool{},
		touched: map[elementKey]bool{}, touchedPick: map[picker]bool{},
	}
}

// set says what a frontend needs from now on; nothing, when it is gone.
func (l *ledger) set(f frontend, c compiled) {
	old := l.frontends[f]
	for _, e := range old.elements {
		w := l.want[e.elementKey]
		if w.count--; w.count == 0 {
			delete(l.want, e.elementKey)
		} else {
			l.want[e.elementKey] = w
		}
		l.touched[e.elementKey] = true
	}
	for _, p := range old.pickers {
		if l.wantPick[p]--; l.wantPick[p] == 0 {
			delete(l.wantPick, p)
		}
		l.touchedPick[p] = true
	}
	if len(c.elements) == 0 {
		delete(l.frontends, f)
		return
	}
	l.frontends[f] = c
	for _, e := range c.elements {
		l.want[e.elementKey] = wanted{e.value, l.want[e.elementKey].count + 1}
		l.touched[e.elementKey] = true
	}
	for _, p := range c.pickers {
		l.wantPick[p]++
		l.touchedPick[p] = true
	}
}

// pending returns what has to change. It does not depend on how many frontends stand.
func (l *ledger) pending() change {
	var c change
	for k := range l.touched {
		want, wantOK := l.want[k]
		have, haveOK := l.have[k]
		if wantOK == haveOK && want.value == have {
			continue
		}
		if haveOK {
			c.del = append(c.del, element{k, have})
		}
		if wantOK {
			c.add = append(c.add, element{k, want.value})
		}
	}
	for p := range l.touchedPick {
		switch want := l.wantPick[p] > 0; {
		case want && !l.havePick[p]:
			c.addPickers = append(c.addPickers, p)
		case !want && l.havePick[p]:
			c.delPickers = append(c.delPickers, p)
		}
	}
	return c
}

// committed notes that the kernel took the change; the touched sets are empty afterwards if it was all of pending.
func (l *ledger) committed(c change) {
	for _, e := range c.del {
		delete(l.have, e.elementKey)
	}
	for _, e := range c.add {
		l.have[e.elementKey] = e.value
	}
	for _, p := range c.addPickers {
		l.havePick[p] = true
	}
	for _, p := range c.delPickers {
		delete(l.havePick, p)
	}
	clear(l.touched)
	clear(l.touchedPick)
}

// observed replaces what is believed of the kernel by what it really has, so that the next pending covers everything.
func (l *ledger) observed(have map[elementKey]string, pickers map[picker]bool) {
	l.have, l.havePick = have, pickers
	for k := range l.want {
		l.touched[k] = true
	}
	for k := range have {
		l.touched[k] = true
	}
	for p := range l.wantPick {
		l.touchedPick[p] = true
	}
	for p := range pickers {
		l.touchedPick[p] = true
	}
}

// chunks cuts a change into transactions of at most n elements each, in an order in which each leaves a whole: pickers
// first, then what is new, then for each changed element its old and new value together, then what goes; unused pickers
// last.
func (c change) chunks(n int) []change {
	if len(c.add)+len(c.del) <= n {
		return []change{c}
	}
	replaced := make(map[elementKey]element)
	var gone []element
	added := make(map[elementKey]element, len(c.add))
	for _, e := range c.add {
		added[e.elementKey] = e
	}
	for _, e := range c.del {
		if _, ok := added[e.elementKey]; ok {
			replaced[e.elementKey] = e
		} else {
			gone = append(gone, e)
		}
	}
	// Targets come before the verdicts that lead to them; verdicts go before the targets.
	slices.SortStableFunc(c.add, func(a, b element) int { return rank(a.set) - rank(b.set) })
	slices.SortStableFunc(gone, func(a, b element) int { return rank(b.set) - rank(a.set) })
	var out []change
	cur := change{addPickers: c.addPickers}
	cut := func() {
		if len(cur.add)+len(cur.del) >= n {
			out = append(out, cur)
			cur = change{}
		}
	}
	for _, e := range c.add {
		if _, ok := replaced[e.elementKey]; !ok {
			cur.add = append(cur.add, e)
			cut()
		}
	}
	for k, e := range replaced {
		cur.del, cur.add = append(cur.del, e), append(cur.add, added[k])
		cut()
	}
	for _, e := range gone {
		cur.del = append(cur.del, e)
		cut()
	}
	cur.delPickers = c.delPickers
	return append(out, cur)
}

// rank orders sets: what is looked up later comes first.
func rank(s setName) int {
	switch s {
	case setExternal:
		return 2
	case setServices:
		return 3
	case setGuarded:
		return 1
	}
	return 0
}
