package residency

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestReleaseShrinksTheProgramsOwnPages(t *testing.T) {
	before := residentFile(t)
	if err := Release(); err != nil {
		t.Fatal(err)
	}
	after := residentFile(t)
	if after >= before {
		t.Errorf("resident file pages: %d KiB before, %d KiB after", before, after)
	}
}

func residentFile(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssFile in /proc/self/status")
	return 0
}
