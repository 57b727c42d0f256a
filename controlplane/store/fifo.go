package store

// fifo is a queue in a slice that is used as a ring; it grows as needed and shrinks when it is emptied by more
// than three quarters. The zero value is ready.
type fifo[T any] struct {
	ring  []T
	first int
	count int
}

func (f *fifo[T]) len() int { return f.count }

// at returns the i-th oldest.
func (f *fifo[T]) at(i int) T { return f.ring[(f.first+i)%len(f.ring)] }

func (f *fifo[T]) push(v T) {
	if f.count == len(f.ring) {
		f.resize(max(16, 2*len(f.ring)))
	}
	f.ring[(f.first+f.count)%len(f.ring)] = v
	f.count++
}

// pop removes the oldest; there must be one.
func (f *fifo[T]) pop() T {
	var zero T
	v := f.ring[f.first]
	f.ring[f.first] = zero
	f.first = (f.first + 1) % len(f.ring)
	f.count--
	if len(f.ring) > 64 && f.count < len(f.ring)/4 {
		f.resize(len(f.ring) / 2)
	}
	return v
}

func (f *fifo[T]) clear() { *f = fifo[T]{} }

func (f *fifo[T]) resize(n int) {
	ring := make([]T, n)
	for i := range f.count {
		ring[i] = f.at(i)
	}
	f.ring, f.first = ring, 0
}
