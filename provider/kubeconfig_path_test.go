package provider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// twoContexts is a kubeconfig of two clusters; the first is the current one.
const twoContexts = `{apiVersion: v1, kind: Config, current-context: first,
contexts: [{name: first, context: {cluster: a, user: u}}, {name: second, context: {cluster: b, user: u}}],
clusters: [{name: a, cluster: {server: "https://a.example"}}, {name: b, cluster: {server: "https://b.example", certificate-authority: ca.crt}}],
users: [{name: u, user: {token: t0ken}}]}`

// TestKubeconfigOfTheProvider reaches the cluster of the context that is meant, wherever the file is named from, and says
// which attribute is wrong where the file turns out to be another than when it was checked.
func TestKubeconfigOfTheProvider(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", "/nonexistent")
	t.Chdir(dir)
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	absolute := filepath.Join(dir, "config")
	put(absolute, twoContexts)
	put("ca.crt", "is not read before a connection is made")
	put(filepath.Join(home, "config"), strings.ReplaceAll(twoContexts, "a.example", "home.example"))
	for name, tc := range map[string]struct {
		path, context string
		then          string // what the file is by the time that it is used; empty: the same
		server, says  string
	}{
		"current context":      {absolute, "", "", "https://a.example", ""},
		"another context":      {absolute, "second", "", "https://b.example", ""},
		"relative":             {"config", "", "", "https://a.example", ""},
		"in the home":          {"~/config", "", "", "https://home.example", ""},
		"no file":              {filepath.Join(dir, "none"), "", "", "", "cannot use the provider's kubeconfig_path " + filepath.Join(dir, "none") + ": stat"},
		"context that went":    {"late", "first", strings.ReplaceAll(twoContexts, "first", "other"), "", `cannot use the provider's kubeconfig_context: kubeconfig late has no context "first"; it has other, second`},
		"file that broke":      {"late", "", "garbage", "", "cannot use the provider's kubeconfig_path: cannot read kubeconfig late"},
		"cluster that is none": {"late", "", strings.ReplaceAll(twoContexts, "name: a,", "name: c,"), "", `cannot use the provider's kubeconfig_path late: invalid configuration`},
	} {
		t.Run(name, func(t *testing.T) {
			put("late", twoContexts)
			set := map[string]tftypes.Value{"kubeconfig_path": text(tc.path)}
			if tc.context != "" {
				set["kubeconfig_context"] = text(tc.context)
			}
			d := configuredData(t, set)
			if tc.then != "" {
				put(tc.path, tc.then)
			}
			config, err := d.connector.Connect(t.Context(), "")
			if tc.says != "" {
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("it says %v, want %s", err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if config.Host != tc.server || config.BearerToken != "t0ken" {
				t.Errorf("it goes to %s with token %q, want %s", config.Host, config.BearerToken, tc.server)
			}
			if ca := config.CAFile; tc.context == "second" && ca != filepath.Join(dir, "ca.crt") { // a file beside the kubeconfig
				t.Errorf("the authority is %q", ca)
			}
		})
	}
}
