package store

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
)

// memoryDir names the environment variable by which BenchmarkMemory tells its child process the data directory.
const memoryDir = "STORE_MEMORY_DIR"

// BenchmarkMemory is what a process that starts on 0 and on 100,000 config maps of 1 KiB needs: time to ready,
// resident memory then and after a paged list with every object's JSON. A child process is measured, so that
// what made the data does not count.
func BenchmarkMemory(b *testing.B) {
	if dir := os.Getenv(memoryDir); dir != "" {
		measureMemory(b, dir)
		return
	}
	for _, objects := range []int{0, 100_000} {
		b.Run(fmt.Sprint("objects=", objects), func(b *testing.B) {
			dir := b.TempDir()
			m, stopEtcd := startEtcd(b, etcd.Config{DataDir: dir})
			s := New(m.Client, testKinds, Options{Log: quiet()})
			stop := runStore(b, s)
			fill(b, s, objects)
			stop()
			stopEtcd()
			cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkMemory$", "-test.benchtime=1x")
			cmd.Env = append(os.Environ(), memoryDir+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			for line := range strings.SplitSeq(string(out), "\n") {
				if name, value, ok := strings.Cut(line, "= "); ok {
					v, err := strconv.ParseFloat(value, 64)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(v, name)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func measureMemory(b *testing.B, dir string) {
	start := time.Now()
	m, _ := startEtcd(b, etcd.Config{DataDir: dir})
	s := New(m.Client, testKinds, Options{Log: quiet()})
	runStore(b, s)
	fmt.Printf("\nready-s= %.3f\nready-MB= %d\n", time.Since(start).Seconds(), residentMB(b))
	start = time.Now()
	n := 0
	for q := (ListQuery{Limit: 500}); ; {
		list, err := s.List(b.Context(), configMaps, q)
		if err != nil {
			b.Fatal(err)
		}
		for _, it := range list.Items {
			if _, err := it.Encoded(JSON); err != nil {
				b.Fatal(err)
			}
			n++
		}
		if q.Continue = list.Continue; q.Continue == "" {
			break
		}
	}
	fmt.Printf("list-s= %.3f\nlist-MB= %d\n", time.Since(start).Seconds(), residentMB(b))
}

// residentMB returns this process's resident memory.
func residentMB(b *testing.B) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
