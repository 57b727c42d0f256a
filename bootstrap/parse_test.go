package bootstrap

import "testing"

func FuzzParseInspection(f *testing.F) {
	f.Add("sha256=ab\nversion={\"version\":\"v1\"}\ninit=systemd\nserver=bGlzdGVuOiAiOjY0NDMiCg==\ncluster=cAo=\n")
	f.Add("init=none\nagent=bm9kZU5hbWU6IGEK\nca.agent=eA==\n")
	f.Add("server=e30=\n")
	f.Fuzz(func(t *testing.T, out string) {
		in, _, err := parseInspection(out)
		if err == nil && in.Present && in.Role == RoleServer && in.APIAddress == "" {
			t.Error("a server without an address")
		}
	})
}

func TestAPIAddress(t *testing.T) {
	for listen, want := range map[string]string{
		":6443": "127.0.0.1:6443", "0.0.0.0:7443": "127.0.0.1:7443", "[::]:6443": "127.0.0.1:6443", "192.0.2.1:6443": "192.0.2.1:6443", "": "127.0.0.1:6443",
	} {
		if got := apiAddress(listen); got != want {
			t.Errorf("%q is dialled at %s, want %s", listen, got, want)
		}
	}
}
