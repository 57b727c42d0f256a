package quota

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resources "k8s.io/apiserver/pkg/quota/v1"
)

// Ledger knows the charges that this process has made and whose objects it has not yet stored. Whoever counts
// afresh what a quota has in use would miss them: the object is not there yet, and its charge would be taken for
// one that was never used. A nil Ledger knows of none. It is safe for concurrent use.
type Ledger struct {
	mu   sync.Mutex
	open map[types.UID]map[*Entry]corev1.ResourceList
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{open: map[types.UID]map[*Entry]corev1.ResourceList{}} }

// Entry is one charge of one quota, from before it is made until the object is stored or the charge is given back.
type Entry struct {
	ledger *Ledger
	quota  types.UID
}

// Begin notes a charge that is about to be made; the caller ends it.
func (l *Ledger) Begin(quota types.UID, charge corev1.ResourceList) *Entry {
	e := &Entry{ledger: l, quota: quota}
	if l == nil {
		return e
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[quota] == nil {
		l.open[quota] = map[*Entry]corev1.ResourceList{}
	}
	l.open[quota][e] = charge
	return e
}

// End takes the note away. It may be called more than once.
func (e *Entry) End() {
	l := e.ledger
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open[e.quota], e)
	if len(l.open[e.quota]) == 0 {
		delete(l.open, e.quota)
	}
}

// Open returns the sum of a quota's open charges, and whether there are any.
func (l *Ledger) Open(quota types.UID) (corev1.ResourceList, bool) {
	if l == nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum corev1.ResourceList
	for _, charge := range l.open[quota] {
		sum = resources.Add(sum, charge)
	}
	return sum, len(l.open[quota]) > 0
}
