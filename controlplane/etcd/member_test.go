package etcd

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a member until the test ends or the returned function is called.
func start(t testing.TB, cfg Config) (*Member, func()) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	m, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

func TestRestartKeepsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	m, stop := start(t, Config{DataDir: dir, Name: "one"})
	if _, err := m.Client.Put(t.Context(), "/a", "1"); err != nil {
		t.Fatal(err)
	}
	if err := m.Health(); err != nil {
		t.Errorf("Health = %v", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory is %v, %v; want mode 0700", info.Mode(), err)
	}
	stop()
	select {
	case <-m.Done():
	default:
		t.Error("Done is open after Close")
	}
	if m.Health() == nil {
		t.Error("a closed member calls itself healthy")
	}
	m, _ = start(t, Config{DataDir: dir, Name: "one"})
	resp, err := m.Client.Get(t.Context(), "/a")
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "1" {
		t.Fatalf("after a restart /a = %v, %v", resp, err)
	}
}

func TestOpensNoPortUnlessTold(t *testing.T) {
	before := listening(t)
	start(t, Config{DataDir: t.TempDir()})
	for port := range listening(t) {
		if !before[port] {
			t.Errorf("the member listens on port %d", port)
		}
	}
}

// listening returns the TCP ports that this process's own sockets listen on.
func listening(t *testing.T) map[int64]bool {
	t.Helper()
	own := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil {
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	out := map[int64]bool{}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for _, line := range strings.Split(string(b), "\n")[1:] {
			const stateListen = "0A"
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != stateListen || !own[f[9]] {
				continue
			}
			port, err := strconv.ParseInt(f[1][strings.LastIndexByte(f[1], ':')+1:], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			out[port] = true
		}
	}
	return out
}

func TestClientListener(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "etcd.sock")
	start(t, Config{DataDir: t.TempDir(), ListenClient: []string{socket}})
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{socket}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(t.Context(), "/a", "1"); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"no directory":    {Config{}, "no data directory"},
		"not a directory": {Config{DataDir: file}, "not a directory"},
		"port taken":      {Config{DataDir: t.TempDir(), ListenClient: []string{"http://" + l.Addr().String()}}, "address already in use"},
		"bad address":     {Config{DataDir: t.TempDir(), ListenClient: []string{"::"}}, "cannot read the client addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.Log = slog.New(slog.DiscardHandler)
			m, err := Start(t.Context(), tc.cfg)
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Start = %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// TestQuota fills the database, sees that it says so, and that it takes writes again once there is room.
func TestQuota(t *testing.T) {
	const quota = 16 << 20
	m, _ := start(t, Config{DataDir: t.TempDir(), Quota: quota, Maintenance: 50 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	value := strings.Repeat("x", 1<<20)
	var err error
	for err == nil {
		_, err = m.Client.Put(ctx, "/big", value)
	}
	if !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("Put into a full database = %v", err)
	}
	if err := m.Health(); err == nil || !strings.Contains(err.Error(), "quota") {
		t.Errorf("Health of a full database = %v, want the quota in it", err)
	}
	resp, err := m.Client.Delete(ctx, "/big")
	if err != nil {
		t.Fatalf("a full database refuses deletes: %v", err)
	}
	if _, err := m.Client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	for m.Health() != nil {
		select {
		case <-ctx.Done():
			t.Fatalf("Health after space was freed = %v", m.Health())
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, err := m.Client.Put(ctx, "/big", "small"); err != nil {
		t.Errorf("Put after space was freed: %v", err)
	}
}

func TestFragmented(t *testing.T) {
	for _, tc := range []struct {
		size, used int64
		want       bool
	}{
		{100 << 20, 1 << 20, false},
		{600 << 20, 400 << 20, false},
		{600 << 20, 200 << 20, true},
		{8 << 30, 7 << 30, false},
	} {
		if got := fragmented(tc.size, tc.used); got != tc.want {
			t.Errorf("fragmented(%d, %d) = %v", tc.size, tc.used, got)
		}
	}
}

// TestTrim reads a database of some size and sees its pages leave this process's memory, and the data stay.
func TestTrim(t *testing.T) {
	m, _ := start(t, Config{DataDir: t.TempDir()})
	value := strings.Repeat("x", 1<<20)
	for i := range 16 {
		if _, err := m.Client.Put(t.Context(), "/"+strconv.Itoa(i), value); err != nil {
			t.Fatal(err)
		}
	}
	m.etcd.Server.Backend().ForceCommit()
	read := func() {
		resp, err := m.Client.Get(t.Context(), "/", clientv3.WithPrefix())
		if err != nil || len(resp.Kvs) != 16 || string(resp.Kvs[15].Value) != value {
			t.Fatalf("the data is not what it was: %v", err)
		}
	}
	read()
	before := resident(t, m.database)
	if err := trim(m.etcd.Server.Backend(), m.database); err != nil {
		t.Fatal(err)
	}
	if after := resident(t, m.database); before < 8<<20 || after > before/4 {
		t.Errorf("the database takes %d bytes of memory, %d before", after, before)
	}
	read()
}

// resident returns how much of a file is mapped into this process's memory.
func resident(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), file+"\n")
	_, rest, ok2 := strings.Cut(rest, "\nRss:")
	if !ok || !ok2 {
		t.Fatalf("%s is not mapped", file)
	}
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// BenchmarkStart is from nothing, and from data that exists, to a member that takes writes.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		_, stop := start(b, Config{DataDir: dir})
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}
