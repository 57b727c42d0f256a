package acctest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// newer is a later version of the provider.
const newer = "99.0.0"

// buildNewer builds it, once, which takes some seconds.
var buildNewer = sync.OnceValues(func() (cliConfig string, err error) {
	dir := filepath.Join(scratch, "newer")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return Build(context.Background(), dir, newer)
})

// newerProvider is a configuration of Terraform that uses it.
func newerProvider(t *testing.T) string {
	t.Helper()
	config, err := buildNewer()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// testUpgrade applies with a newer provider: cluster and nodes are updated in place, one after the other, no
// request fails and no container is touched.
func (s *standing) testUpgrade(t *testing.T) {
	s.CLIConfig = newerProvider(t)
	changes, out, err := s.Plan(t.Context())
	if err != nil || !changes {
		t.Fatalf("a newer provider plans changes: %v, %v\n%s", changes, err, out)
	}
	says(t, out, "Plan: 0 to add, 3 to change, 0 to destroy.", `-> "`+newer+`"`)
	before := containers(awaitPods(t, s.clients, 3, time.Minute))
	l := startLoad(t, s.urls()...)
	apply(t, s.Workspace)
	l.more(t, 30)
	l.end(t)
	if after := containers(awaitPods(t, s.clients, 3, time.Minute)); !maps.Equal(before, after) {
		t.Errorf("containers changed:\nbefore %v\nafter  %v", before, after)
	}
	for _, m := range s.machines() {
		if got := command(t, m, "fairlead version"); !strings.Contains(got, newer) {
			t.Errorf("machine %s runs %s", m.Name, got)
		}
	}
	planEmpty(t, s.Workspace)
}
