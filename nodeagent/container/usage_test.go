package container

import (
	"os"
	"path/filepath"
	"testing"
)

// What a cgroup uses is read as its version has it.
func TestWorkingSet(t *testing.T) {
	for name, tc := range map[string]struct {
		v2    bool
		files map[string]string
		want  int64
	}{
		"version 1":        {false, map[string]string{"memory.usage_in_bytes": "1000\n", "memory.stat": "inactive_file 1\ntotal_inactive_anon 5\ntotal_inactive_file 300\n"}, 700},
		"version 2":        {true, map[string]string{"memory.current": "1000\n", "memory.stat": "anon 5\ninactive_file 300\nactive_file 5\n"}, 700},
		"files are all":    {true, map[string]string{"memory.current": "100\n", "memory.stat": "inactive_file 300\n"}, 0},
		"no statistics":    {true, map[string]string{"memory.current": "100\n"}, 100},
		"no such cgroup":   {true, nil, 0},
		"nor in the other": {false, nil, 0},
	} {
		dir := t.TempDir()
		for file, text := range tc.files {
			if err := os.MkdirAll(filepath.Join(dir, "pod"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "pod", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := &cgroups{v2: tc.v2, dirs: map[string]string{"memory": dir}}
		if tc.v2 {
			c.dirs = map[string]string{"": dir}
		}
		if got, err := c.workingSet("pod"); err != nil || got != tc.want {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "memory.current"), []byte("much"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&cgroups{v2: true, dirs: map[string]string{"": dir}}).workingSet("/"); err == nil {
		t.Error("nonsense is read")
	}
}
