package admission

import (
	"errors"
	"testing"
)

func TestBand(t *testing.T) {
	b := band{first: 1, last: 100, reserved: 10}
	taken := map[int]bool{}
	for n := range 100 {
		got, err := b.pick(func(n int) (bool, error) { return taken[n], nil })
		if err != nil {
			t.Fatalf("full after %d of 100: %v", n, err)
		}
		if taken[got] || got < b.first || got > b.last {
			t.Fatalf("picked %d", got)
		}
		if n < 90 && got <= 10 {
			t.Errorf("picked %d, which is left to those who choose, while others are free", got)
		}
		taken[got] = true
	}
	if _, err := b.pick(func(n int) (bool, error) { return taken[n], nil }); !errors.Is(err, errFull) {
		t.Errorf("a full range gives %v", err)
	}
}
