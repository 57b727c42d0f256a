package admission

import (
	"errors"
	"math/rand/v2"
)

// errFull says that a range has nothing free.
var errFull = errors.New("range is full")

// drawsBeforeScan is how many random candidates are tried before every one is: with this many misses the range
// is nearly full.
const drawsBeforeScan = 32

// band is a range of numbers whose first part is left, as long as the rest lasts, to those who choose a number
// themselves, so that they seldom meet one that was given out (KEP-3070, KEP-3668).
type band struct {
	first, last int // both included
	reserved    int
}

// pick returns a number that is not taken, at random, or errFull.
func (b band) pick(taken func(int) (bool, error)) (int, error) {
	low := b.first + b.reserved
	if low > b.last {
		low = b.first
	}
	if n, err := pickIn(low, b.last, taken); !errors.Is(err, errFull) {
		return n, err
	}
	return pickIn(b.first, low-1, taken)
}

func pickIn(first, last int, taken func(int) (bool, error)) (int, error) {
	size := last - first + 1
	if size <= 0 {
		return 0, errFull
	}
	for range min(drawsBeforeScan, size) {
		n := first + rand.IntN(size)
		if is, err := taken(n); err != nil || !is {
			return n, err
		}
	}
	start := rand.IntN(size)
	for i := range size {
		n := first + (start+i)%size
		if is, err := taken(n); err != nil || !is {
			return n, err
		}
	}
	return 0, errFull
}

func clamp(n, low, high int) int { return max(low, min(n, high)) }
