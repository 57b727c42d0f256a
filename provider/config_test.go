package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attributePath is a path of attribute names.
func attributePath(names string) *tftypes.AttributePath {
	at := tftypes.NewAttributePath()
	for _, name := range strings.Split(names, ".") {
		at = at.WithAttributeName(name)
	}
	return at
}

// expectOne wants one diagnostic, on the attribute and with the text; or none, for no attribute.
func expectOne(t *testing.T, diags []*tfprotov6.Diagnostic, at, text string) {
	t.Helper()
	if at == "" {
		clean(t, "it", diags)
		return
	}
	if len(diags) != 1 || !attributePath(at).Equal(diags[0].Attribute) || !strings.Contains(diags[0].Summary+": "+diags[0].Detail, text) {
		t.Errorf("want one on %s with %q, and it says:", at, text)
		for _, d := range diags {
			t.Errorf("%s: %s: %s", d.Attribute, d.Summary, d.Detail)
		}
	}
}

// TestProviderBlockIsCheckedAtPlan wants what can be known without a host to be said when the provider is configured,
// and nothing of files that the same apply may make.
func TestProviderBlockIsCheckedAtPlan(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	garbage := put("garbage", "garbage\n")
	kubeconfig := put("kubeconfig", "{apiVersion: v1, kind: Config, contexts: [{name: prod, context: {cluster: c}}], current-context: gone}")
	none := put("none", "{apiVersion: v1, kind: Config}")
	good := put("good", "{apiVersion: v1, kind: Config, contexts: [{name: prod, context: {cluster: c}}], current-context: prod}")
	s := serve(t, nil)
	sshType := s.provider.AttributeTypes["ssh"].(tftypes.Object)
	ssh := func(set map[string]tftypes.Value) map[string]tftypes.Value {
		return map[string]tftypes.Value{"ssh": filled(sshType, set)}
	}
	bastion := func(set map[string]tftypes.Value) map[string]tftypes.Value {
		return ssh(map[string]tftypes.Value{"bastion": filled(sshType.AttributeTypes["bastion"].(tftypes.Object), set)})
	}
	for name, tc := range map[string]struct {
		set      map[string]tftypes.Value
		at, text string
	}{
		"private key":          {ssh(map[string]tftypes.Value{"private_key": text("x")}), "ssh.private_key", "not a private key"},
		"private key file":     {ssh(map[string]tftypes.Value{"private_key_file": text(garbage)}), "ssh.private_key_file", "garbage: it is not a private key"},
		"file to come":         {ssh(map[string]tftypes.Value{"private_key_file": text(dir + "/later"), "known_hosts_file": text(dir + "/later")}), "", ""},
		"known hosts":          {ssh(map[string]tftypes.Value{"known_hosts_file": text(garbage)}), "ssh.known_hosts_file", "garbage:1"},
		"bastion's host key":   {bastion(map[string]tftypes.Value{"address": text("b"), "host_key": text("x")}), "ssh.bastion.host_key", "not a public key"},
		"bastion's key file":   {bastion(map[string]tftypes.Value{"address": text("b"), "private_key_file": text(garbage)}), "ssh.bastion.private_key_file", "not a private key"},
		"context alone":        {map[string]tftypes.Value{"kubeconfig_context": text("prod")}, "kubeconfig_context", "set kubeconfig_path"},
		"kubeconfig":           {map[string]tftypes.Value{"kubeconfig_path": text(garbage)}, "kubeconfig_path", "cannot read kubeconfig"},
		"kubeconfig to come":   {map[string]tftypes.Value{"kubeconfig_path": text(dir + "/later"), "kubeconfig_context": text("x")}, "", ""},
		"no such context":      {map[string]tftypes.Value{"kubeconfig_path": text(good), "kubeconfig_context": text("x")}, "kubeconfig_context", `no context "x"; it has prod`},
		"current context gone": {map[string]tftypes.Value{"kubeconfig_path": text(kubeconfig)}, "kubeconfig_path", `no context "gone"; it has prod`},
		"no current context":   {map[string]tftypes.Value{"kubeconfig_path": text(none)}, "kubeconfig_path", "no current context"},
		"context":              {map[string]tftypes.Value{"kubeconfig_path": text(kubeconfig), "kubeconfig_context": text("prod")}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := configured(t, New()(), tc.set)
			expectOne(t, diags, tc.at, tc.text)
		})
	}
}

// TestClusterIsCheckedAtPlan wants what the control plane would refuse at its start, and what no host can be, on the
// attribute.
func TestClusterIsCheckedAtPlan(t *testing.T) {
	s := serve(t, nil)
	typ := s.types["fairlead_cluster"]
	hosts := typ.AttributeTypes["control_plane"].(tftypes.List)
	list := func(values ...tftypes.Value) tftypes.Value {
		return tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, values)
	}
	texts := func(key, value string) tftypes.Value {
		return tftypes.NewValue(tftypes.Map{ElementType: tftypes.String}, map[string]tftypes.Value{key: text(value)})
	}
	host := func(set map[string]tftypes.Value) map[string]tftypes.Value {
		if _, ok := set["address"]; !ok {
			set["address"] = text("host_1.example")
		}
		return map[string]tftypes.Value{"control_plane": tftypes.NewValue(hosts, []tftypes.Value{filled(hosts.ElementType.(tftypes.Object), set)})}
	}
	for name, tc := range map[string]struct {
		set  map[string]tftypes.Value
		text string // of the one diagnostic, behind its attribute; empty for none
	}{
		"good": {map[string]tftypes.Value{
			"certificate_names": list(text("api.example"), text("*.example"), text("192.0.2.9")), "node_ports": text("31000-32000"), "domain": text("prod.internal"),
			"pod_cidr": text("10.128.0.0/12"), "service_cidr": text("10.96.0.0/16"),
		}, ""},
		"domain":            {map[string]tftypes.Value{"domain": text("a b")}, "RFC 1123 subdomain"},
		"node ports":        {map[string]tftypes.Value{"node_ports": text("32000-31000")}, "is not FIRST-LAST"},
		"certificate name":  {map[string]tftypes.Value{"certificate_names": list(text("a b"))}, "neither a DNS name nor an address"},
		"overlap":           {map[string]tftypes.Value{"pod_cidr": text("10.0.0.0/8")}, "service_cidr 10.96.0.0/16 overlaps pod_cidr 10.0.0.0/8"},
		"user in address":   {host(map[string]tftypes.Value{"address": text("ops@192.0.2.11")}), `user = "ops"`},
		"port in address":   {host(map[string]tftypes.Value{"address": text("192.0.2.11:22")}), "port = 22"},
		"blank address":     {host(map[string]tftypes.Value{"address": text(" ")}), "not a host's name or address"},
		"address of IPv6":   {host(map[string]tftypes.Value{"address": text("fe80::1%eth0")}), ""},
		"empty host key":    {host(map[string]tftypes.Value{"host_key": text("")}), "leave it out"},
		"loopback":          {host(map[string]tftypes.Value{"internal_address": text("127.0.0.1")}), "other hosts can reach"},
		"key of a taint":    {host(map[string]tftypes.Value{"taints": list(text("a b=c:NoSchedule"))}), "name part must consist"},
		"effect of a taint": {host(map[string]tftypes.Value{"taints": list(text("a=c:Never"))}), "with effect NoSchedule"},
		"label":             {host(map[string]tftypes.Value{"labels": texts("a b", "c")}), "name part must consist"},
		"threshold":         {host(map[string]tftypes.Value{"eviction_hard": texts("nodefs.available", "5%")}), ""},
		"signal":            {host(map[string]tftypes.Value{"eviction_hard": texts("disk.available", "5%")}), "there is no such signal, only memory.available"},
		"no threshold":      {host(map[string]tftypes.Value{"eviction_hard": texts("pid.available", "few")}), `eviction_hard["pid.available"]: "few" is neither a quantity nor a percentage`},
		"host bits":         {map[string]tftypes.Value{"pod_cidr": text("10.1.2.3/16")}, "the range is 10.1.0.0/16"},
		"taints":            {host(map[string]tftypes.Value{"taints": list(text("example.com/a:NoExecute"), text("a=b:NoSchedule"))}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			set := host(map[string]tftypes.Value{})
			set["name"] = text("prod")
			for name, v := range tc.set {
				set[name] = v
			}
			resp, err := s.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{TypeName: "fairlead_cluster", Config: dynamic(t, filled(typ, set))})
			if err != nil {
				t.Fatal(err)
			}
			if tc.text == "" {
				clean(t, "validation", resp.Diagnostics)
			} else if len(resp.Diagnostics) != 1 || resp.Diagnostics[0].Attribute == nil || !strings.Contains(resp.Diagnostics[0].Detail, tc.text) || !isNamed(resp.Diagnostics[0]) {
				t.Errorf("want one with %q, and it says %+v", tc.text, resp.Diagnostics)
			}
		})
	}
}

// isNamed says whether the detail begins with the attribute, as a configuration writes it.
func isNamed(d *tfprotov6.Diagnostic) bool {
	var name string
	for _, step := range d.Attribute.Steps() {
		switch s := step.(type) {
		case tftypes.AttributeName:
			name += "." + string(s)
		case tftypes.ElementKeyInt:
			name += fmt.Sprintf("[%d]", int64(s))
		case tftypes.ElementKeyString:
			name += fmt.Sprintf("[%q]", string(s))
		}
	}
	return strings.HasPrefix(d.Detail, strings.TrimPrefix(name, ".")+": ")
}

// TestClusterIsMissedAtPlan wants a resource without a cluster refused at plan where the provider has no kubeconfig.
func TestClusterIsMissedAtPlan(t *testing.T) {
	for name, typ := range map[string]map[string]tftypes.Value{"fairlead_config_map": {}, "fairlead_image": {"name": text("web"), "source": text("/nonexistent")}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil)
			if name == "fairlead_config_map" {
				typ["metadata"] = filled(s.types[name].AttributeTypes["metadata"].(tftypes.Object), map[string]tftypes.Value{"name": text("a"), "namespace": text("default")})
			}
			config := dynamic(t, filled(s.types[name], typ))
			resp, err := s.PlanResourceChange(t.Context(), &tfprotov6.PlanResourceChangeRequest{
				TypeName: name, Config: config, ProposedNewState: config, PriorState: dynamic(t, tftypes.NewValue(s.types[name], nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			expectOne(t, resp.Diagnostics, "cluster", "the provider has no kubeconfig_path")
		})
	}
}

func TestClusterIDs(t *testing.T) {
	const fp = "TD2BWcdLlfujPMFZ5st5-sPIg0UMwKja_3JL2myTDyI"
	for id, problem := range map[string]string{
		"prod@192.0.2.11#ssh-ed25519." + fp: "", "prod@host.example:2222": "", "prod@[2001:db8::1]": "", "prod@local": "",
		"prod": "no NAME@", "prod@": "no host", "prod@h:x": "port x", "Prod@h": "not the name of a cluster", "prod@a b": "not a host's name",
		"prod@h#ssh-ed25519." + fp + "/default": "is not a fingerprint", "prod@h#ssh-ed25519": "TYPE.FINGERPRINT",
	} {
		got := clusterIDProblem(id)
		if problem == "" && got != "" || !strings.Contains(got, problem) {
			t.Errorf("%s: got %q, want %q", id, got, problem)
		}
		if parsed, err := parseClusterID(id); problem == "" && (err != nil || parsed.String() != id) {
			t.Errorf("%s is read as %s, %v", id, parsed, err)
		}
	}
}

func TestNodeIDs(t *testing.T) {
	const fp = "TD2BWcdLlfujPMFZ5st5-sPIg0UMwKja_3JL2myTDyI"
	for id, want := range map[string]struct {
		name    string
		host    *hostRef
		problem string
	}{
		"prod@192.0.2.11/a":                                      {name: "a"},
		"prod@[2001:db8::1]:22/a.b":                              {name: "a.b"},
		"prod@192.0.2.11#ssh-ed25519." + fp + "/a":               {name: "a"},
		"prod@192.0.2.11/a@local":                                {name: "a", host: &hostRef{Address: "local"}},
		"prod@192.0.2.11/a@a.example":                            {name: "a", host: &hostRef{Address: "a.example"}},
		"prod@192.0.2.11/a@203.0.113.7:2222":                     {name: "a", host: &hostRef{Address: "203.0.113.7", Port: 2222}},
		"prod@192.0.2.11/a@[2001:db8::7]:2222#ssh-ed25519." + fp: {name: "a", host: &hostRef{Address: "2001:db8::7", Port: 2222, HostKey: "ssh-ed25519 SHA256:TD2BWcdLlfujPMFZ5st5+sPIg0UMwKja/3JL2myTDyI"}},
		"a":                          {problem: "it has no /NAME"},
		"prod@192.0.2.11/":           {problem: "it has no NAME;"},
		"prod/a":                     {problem: `of its cluster "prod", it has no NAME@`},
		"prod@192.0.2.11/a@":         {problem: "of its host, it has no host"},
		"prod@192.0.2.11/a@h:x":      {problem: "of its host, port x"},
		"prod@192.0.2.11/a@root@h":   {problem: "of its host, \"root@h\""},
		"prod@192.0.2.11/a@h#SHA256": {problem: "of its host, what follows # is not TYPE.FINGERPRINT"},
	} {
		cluster, name, host, err := parseNodeID(id)
		if want.problem != "" {
			if err == nil || !strings.Contains(err.Error(), want.problem) {
				t.Errorf("%s: got %v, want %q", id, err, want.problem)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(id, cluster+"/") || name != want.name || !reflect.DeepEqual(host, want.host) {
			t.Errorf("%s is read as %s, %s, %+v, %v", id, cluster, name, host, err)
		}
	}
}

// TestImportedHost wants the host of an imported node to be what the id says, and else the node's own address.
func TestImportedHost(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.2"}}}}
	for _, want := range []hostRef{{Address: "10.0.0.2"}, {Address: "a.example", Port: 2222, HostKey: testHostKey}, {Address: "local"}} {
		host := &want
		if want.Address == "10.0.0.2" {
			host = nil
		}
		m := importNode("prod@192.0.2.11", node, host)
		if m.ref() != want || m.InternalAddress.ValueString() != "10.0.0.2" || m.ID.ValueString() != "prod@192.0.2.11/a" {
			t.Errorf("got %+v, %s, %s, want %+v", m.ref(), m.InternalAddress, m.ID, want)
		}
	}
}
