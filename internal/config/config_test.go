package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAuditPolicyIsChecked(t *testing.T) {
	for name, tc := range map[string]struct{ policy, want string }{
		"kind":     {"{apiVersion: audit.k8s.io/v1beta1, kind: Policy, rules: [{level: None}]}", "audit.k8s.io/v1beta1"},
		"no rules": {"{apiVersion: audit.k8s.io/v1, kind: Policy}", "no rules"},
		"field":    {"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, user: [a]}]}", "user"},
		"level":    {"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: All}]}", "rules[0].level"},
		"stage":    {"{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [End], rules: [{level: None}]}", "omitStages[0]"},
		"both":     {"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]}", "rules[0].nonResourceURLs"},
		"url":      {"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, nonResourceURLs: ['/*/a']}]}", "rules[0].nonResourceURLs[0]"},
		"names":    {"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, resources: [{resourceNames: [a]}]}]}", "rules[0].resources[0].resourceNames"},
	} {
		file := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(file, []byte(tc.policy), 0o600); err != nil {
			t.Fatal(err)
		}
		for where, a := range map[string]Audit{"audit.policy": {Policy: tc.policy}, file: {PolicyFile: file}} {
			if _, err := a.ReadPolicy(); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), where) {
				t.Errorf("%s of %s: %v", name, where, err)
			}
		}
	}
	if _, err := (&Audit{Policy: "a", PolicyFile: "b"}).ReadPolicy(); err == nil || !strings.Contains(err.Error(), "policyFile") {
		t.Errorf("two policies: %v", err)
	}
}

func TestIssuerIsChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		issuer OIDC
		field  string
	}{
		"http":       {OIDC{IssuerURL: "http://a.example", ClientID: "c"}, "issuerURL"},
		"query":      {OIDC{IssuerURL: "https://a.example?x=1", ClientID: "c"}, "issuerURL"},
		"no client":  {OIDC{IssuerURL: "https://a.example"}, "clientID"},
		"audience":   {OIDC{IssuerURL: "https://a.example", Audiences: []string{""}}, "audiences"},
		"algorithm":  {OIDC{IssuerURL: "https://a.example", ClientID: "c", SigningAlgs: []string{"HS256"}}, "signingAlgs"},
		"no PEM":     {OIDC{IssuerURL: "https://a.example", ClientID: "c", CA: "x"}, "ca"},
		"CA by both": {OIDC{IssuerURL: "https://a.example", ClientID: "c", CA: "x", CAFile: "y"}, "ca"},
	} {
		if _, err := tc.issuer.Completed(); err == nil || !strings.HasPrefix(err.Error(), "oidc."+tc.field+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
