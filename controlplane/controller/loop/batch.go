package loop

import (
	"errors"
	"sync"
)

// inFlight is how many writes of one reconciliation are under way at once: enough to fill etcd's group commit.
const inFlight = 32

// Parallel calls do(0) … do(n-1), up to 32 at once, waits for all and joins their errors.
func Parallel(n int, do func(i int) error) error {
	if n <= 0 {
		return nil
	}
	if n == 1 {
		return do(0)
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		errs []error
	)
	for range min(n, inFlight) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// SlowStart calls do n times in batches of 1, 2, 4, … and stops after the first batch with an error, so that
// what fails for all (a quota, an invalid template) is tried once and not n times. It returns how many succeeded.
func SlowStart(n int, do func() error) (int, error) {
	succeeded := 0
	for batch := 1; n > 0; batch *= 2 {
		size := min(batch, n)
		var mu sync.Mutex
		good := 0
		err := Parallel(size, func(int) error {
			if err := do(); err != nil {
				return err
			}
			mu.Lock()
			good++
			mu.Unlock()
			return nil
		})
		succeeded += good
		if err != nil {
			return succeeded, err
		}
		n -= size
	}
	return succeeded, nil
}
