package api_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

func TestHealth(t *testing.T) {
	var odd atomic.Bool
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) {
		c.Checks = []api.Check{{Name: "odd", Run: func(context.Context) error {
			if odd.Load() {
				return errors.New("it is odd")
			}
			return nil
		}}}
	}})
	expect := func(path string, code int, parts ...string) {
		t.Helper()
		got, _, body := do(t, e.HTTP(), "GET", e.Address+path, "", "", "")
		if got != code {
			t.Fatalf("%s: got %d, want %d: %s", path, got, code, body)
		}
		for _, part := range parts {
			if !strings.Contains(string(body), part) {
				t.Errorf("%s has no %q:\n%s", path, part, body)
			}
		}
	}
	expect("/readyz", 200, "ok")
	expect("/readyz?verbose", 200, "[+]ping ok\n[+]etcd ok\n", "[+]odd ok\n", "[+]shutdown ok\nreadyz check passed\n")
	expect("/readyz?verbose&exclude=odd&exclude=even", 200, "[+]odd excluded: ok\n", `no matches for ["even"]`)
	expect("/readyz/odd", 200, "ok")
	expect("/", 200, `"/readyz/odd"`, `"/livez/etcd"`)

	odd.Store(true)
	expect("/readyz", 500, "[+]ping ok\n", "[-]odd failed: it is odd\n", "readyz check failed\n")
	expect("/readyz?exclude=odd", 200, "ok")
	expect("/readyz/odd", 500, "internal server error: it is odd")
	expect("/livez", 200, "ok")
	expect("/livez/odd", 404)

	e.Member.Close()
	expect("/livez", 500, "[-]etcd failed: etcd does not answer\n")
	expect("/healthz/ping", 200, "ok")
}
