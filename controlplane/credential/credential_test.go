package credential

import (
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name       string
		user       string
		groups     []string
		life, most time.Duration
	}{
		{"no user", "", nil, time.Minute, time.Hour},
		{"an unnamed group", "u", []string{""}, time.Minute, time.Hour},
		{"no life", "u", nil, 0, time.Hour},
		{"more than a day", "u", nil, time.Minute, 25 * time.Hour},
		{"longer than its end", "u", nil, 2 * time.Hour, time.Hour},
	} {
		if _, _, _, err := New(nil, c.user, c.groups, c.life, c.most, time.Now()); err == nil {
			t.Errorf("a credential with %s was made", c.name)
		}
	}
}
