package provider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"k8s.io/apimachinery/pkg/fields"
	kubelabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
)

// invalid says what is wrong with an attribute, and which one is meant: of nested ones Terraform shows no more than
// where the outermost begins.
func invalid(diags *diag.Diagnostics, at path.Path, summary, what string) {
	diags.AddAttributeError(at, summary, at.String()+": "+what+".")
}

// check adapts a function that says what is wrong with a string to a validator.
func check(req validator.StringRequest, resp *validator.StringResponse, wrong func(string) string) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if msg := wrong(req.ConfigValue.ValueString()); msg != "" {
		invalid(&resp.Diagnostics, req.Path, "Invalid value", fmt.Sprintf("%q: %s", req.ConfigValue.ValueString(), msg))
	}
}

type described string

func (d described) Description(context.Context) string         { return string(d) }
func (d described) MarkdownDescription(context.Context) string { return string(d) }

// labelSelector takes what kubectl takes by --selector.
type labelSelector struct{ described }

func (labelSelector) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		if _, err := kubelabels.Parse(s); err != nil {
			return "is not a label selector such as app=web,tier!=db: " + err.Error()
		}
		return ""
	})
}

// fieldSelector takes what kubectl takes by --field-selector; which fields there are, the API knows.
type fieldSelector struct{ described }

func (fieldSelector) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		if _, err := fields.ParseSelector(s); err != nil {
			return "is not a field selector such as status.phase=Running: " + err.Error()
		}
		return ""
	})
}

// clusterIDRule takes the id of a fairlead_cluster.
type clusterIDRule struct{ described }

func (clusterIDRule) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, clusterIDProblem)
}

type dnsLabel struct{ described }

func (dnsLabel) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string { return strings.Join(validation.IsDNS1123Label(s), "; ") })
}

type dnsSubdomain struct{ described }

func (dnsSubdomain) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string { return strings.Join(validation.IsDNS1123Subdomain(s), "; ") })
}

// ipAddress takes an IPv4 address that other hosts can reach.
type ipAddress struct{ described }

func (ipAddress) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		ip := net.ParseIP(s)
		switch {
		case ip == nil || ip.To4() == nil:
			return "is not an IPv4 address"
		case !ip.IsGlobalUnicast():
			return "is not an address that other hosts can reach"
		}
		return ""
	})
}

// certificateName takes what a certificate can be for.
type certificateName struct{ described }

func (certificateName) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		name := strings.TrimPrefix(s, "*.")
		if net.ParseIP(s) == nil && len(validation.IsDNS1123Subdomain(name)) > 0 {
			return "is neither a DNS name nor an address"
		}
		return ""
	})
}

type portRange struct{ described }

func (portRange) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		a, b, _ := strings.Cut(s, "-")
		first, errA := strconv.Atoi(a)
		last, errB := strconv.Atoi(b)
		if errA != nil || errB != nil || first < 1 || last > 65535 || first > last {
			return "is not FIRST-LAST within 1-65535"
		}
		return ""
	})
}

type taint struct{ described }

func (taint) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		rest, effect, _ := strings.Cut(s, ":")
		if effect != "NoSchedule" && effect != "PreferNoSchedule" && effect != "NoExecute" {
			return "must be KEY=VALUE:EFFECT with effect NoSchedule, PreferNoSchedule or NoExecute"
		}
		key, value, _ := strings.Cut(rest, "=")
		return strings.Join(append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...), "; ")
	})
}

type ipv4Range struct{ described }

func (ipv4Range) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		ip, n, err := net.ParseCIDR(s)
		if err != nil || ip.To4() == nil {
			return "is not an IPv4 range such as 10.1.0.0/16"
		}
		if !ip.Equal(n.IP) {
			return "has host bits set; the range is " + n.String()
		}
		if bits, _ := n.Mask.Size(); bits < 8 || bits > 24 {
			return "must be between a /8 and a /24"
		}
		return ""
	})
}

// duration is bounded by least and most, where they are not 0.
type duration struct {
	described
	least, most time.Duration
}

func (v duration) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil || d <= 0:
			return "is not a duration such as 90s or 10m"
		case d < v.least:
			return fmt.Sprintf("is shorter than %v", v.least)
		case v.most > 0 && d > v.most:
			return fmt.Sprintf("is longer than %v", v.most)
		}
		return ""
	})
}

type hostKey struct{ described }

func (hostKey) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, func(s string) string {
		if s == "" {
			return "is empty; leave it out to have known_hosts asked"
		}
		c := ssh.Config{Address: "host", HostKey: s}
		if err := c.Validate(); err != nil {
			return err.Error()
		}
		return ""
	})
}

// hostAddress takes what SSH can dial.
type hostAddress struct{ described }

func (hostAddress) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, addressProblem)
}

// addressProblem says what is wrong with the address of a host; empty means nothing.
func addressProblem(s string) string {
	if net.ParseIP(s) != nil {
		return ""
	}
	if _, err := netip.ParseAddr(s); err == nil { // with a zone
		return ""
	}
	if user, _, ok := strings.Cut(s, "@"); ok {
		return fmt.Sprintf("is not a host's name or address; the user has an attribute of its own: user = %q", user)
	}
	if _, port, err := net.SplitHostPort(s); err == nil {
		return "is not a host's name or address; the port has an attribute of its own: port = " + port
	}
	// Names in known_hosts and resolvers may have capitals and underscores.
	if len(validation.IsDNS1123Subdomain(strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(s, "."), "_", "-")))) > 0 {
		return "is not a host's name or address"
	}
	return ""
}

type oneHost struct{ described }

func (oneHost) ValidateList(_ context.Context, req validator.ListRequest, resp *validator.ListResponse) {
	if req.ConfigValue.IsUnknown() || len(req.ConfigValue.Elements()) == 1 {
		return
	}
	invalid(&resp.Diagnostics, req.Path, "Exactly one control-plane host",
		fmt.Sprintf("this release has control planes of one host, and %d are given; further hosts join as fairlead_node", len(req.ConfigValue.Elements())))
}

// evictionHard is a map of what a kubelet's evictionHard has.
type evictionHard struct{ described }

func (evictionHard) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for k, v := range req.ConfigValue.Elements() {
		s, ok := v.(types.String)
		if !ok {
			continue
		}
		statement := s.ValueString()
		if s.IsUnknown() {
			statement = "0%" // the signal's name can be looked at
		}
		var bad *eviction.Error
		if _, err := eviction.Parse(map[string]string{k: statement}); errors.As(err, &bad) {
			invalid(&resp.Diagnostics, req.Path.AtMapKey(k), "Invalid threshold", bad.Reason)
		}
	}
}

type labels struct{ described }

func (labels) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for k, v := range req.ConfigValue.Elements() {
		at := req.Path.AtMapKey(k)
		for _, msg := range validation.IsQualifiedName(k) {
			invalid(&resp.Diagnostics, at, "Invalid label", fmt.Sprintf("%q: %s", k, msg))
		}
		s, ok := v.(types.String)
		if !ok || s.IsUnknown() {
			continue
		}
		for _, msg := range validation.IsValidLabelValue(s.ValueString()) {
			invalid(&resp.Diagnostics, at, "Invalid label", fmt.Sprintf("%q: %s", s.ValueString(), msg))
		}
	}
}
