package api_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// the HTTP clients of the tests keep connections that end by themselves
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*serverConn).serve"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*serverConn).readFrames"),
		goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"),
	)
}

// kubectls returns the kubectl binaries of the versions that are supported, oldest and newest of those there.
func kubectls(t *testing.T) map[string]string {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatalf("kubectl is needed: %v", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, version := range []string{"1.27", "1.33"} {
		p := filepath.Join(filepath.Dir(path), "kubectl."+version)
		if _, err := os.Stat(p); err == nil {
			found[version] = p
		}
	}
	if len(found) == 0 {
		found[strings.TrimPrefix(filepath.Base(path), "kubectl.")] = path
	}
	return found
}
