package kind

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// ServiceIndex lists endpoint slices by the service that their label names, in their namespace.
const ServiceIndex = "service"

// Limits of an endpoint slice.
const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxSliceAddresses = 100
	maxHints          = 8
)

func endpointSliceKind() *Kind {
	docs := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return definition[*discoveryv1.EndpointSlice]{
		gv: discoveryv1.SchemeGroupVersion, kind: "EndpointSlice", plural: "endpointslices", singular: "endpointslice", namespaced: true, generation: true,
		new:            func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
		list:           func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		defaults:       defaultEndpointSlice,
		prepareCreate:  func(s *discoveryv1.EndpointSlice) { prepareSlice(s, nil) },
		prepareUpdate:  prepareSlice,
		validateCreate: func(s *discoveryv1.EndpointSlice) field.ErrorList { return validateEndpointSlice(s, nil) },
		validateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			errs := validateEndpointSlice(s, old)
			return append(errs, validate.Unchanged(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
		},
		warnings: sliceWarnings,
		indexes: map[string]func(*discoveryv1.EndpointSlice) []string{
			ServiceIndex: func(s *discoveryv1.EndpointSlice) []string {
				if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
					return []string{s.Namespace + "/" + name}
				}
				return nil
			},
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("AddressType", "string", docs["addressType"]), column("Ports", "string", docs["ports"]),
			column("Endpoints", "string", docs["endpoints"]), ageColumn(),
		},
		row: func(s *discoveryv1.EndpointSlice, now time.Time) []any {
			return []any{s.Name, string(s.AddressType), slicePortsText(s.Ports), sliceEndpointsText(s.Endpoints), age(s, now)}
		},
	}.build()
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = new(string)
		}
		if p.Protocol == nil {
			tcp := corev1.ProtocolTCP
			p.Protocol = &tcp
		}
	}
}

// prepareSlice drops the labels of nodes that the first version of slices had. Where one of these was a node's name, the
// field has it now. A change of labels makes a new generation too.
func prepareSlice(s, old *discoveryv1.EndpointSlice) {
	s.Ports, s.Endpoints = noneIfEmpty(s.Ports), noneIfEmpty(s.Endpoints)
	if old != nil {
		// also when what changes is dropped below
		if !apiequality.Semantic.DeepEqual(s.Labels, old.Labels) || !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
			s.Generation = old.Generation + 1
		}
		if apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
			return
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		e.Addresses = noneIfEmpty(e.Addresses)
		if node := e.DeprecatedTopology[corev1.LabelHostname]; node != "" && e.NodeName == nil && old != nil && len(validation.IsDNS1123Subdomain(node)) == 0 &&
			slices.ContainsFunc(old.Endpoints, func(had discoveryv1.Endpoint) bool { return had.DeprecatedTopology[corev1.LabelHostname] == node }) {
			e.NodeName = &node
		}
		e.DeprecatedTopology = nil
	}
}

func validateEndpointSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validateSlicePorts(s.Ports, field.NewPath("ports"))
	endpoints := validateSliceEndpoints(s, field.NewPath("endpoints"))
	if len(endpoints) > 0 && old != nil && apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		endpoints = nil // what was accepted once stays acceptable
	}
	errs = append(errs, endpoints...)
	return append(errs, validate.OneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)...)
}

func validateSliceEndpoints(s *discoveryv1.EndpointSlice, path *field.Path) field.ErrorList {
	if len(s.Endpoints) > maxSliceEndpoints {
		return field.ErrorList{field.TooMany(path, len(s.Endpoints), maxSliceEndpoints)}
	}
	var errs field.ErrorList
	for i := range s.Endpoints {
		errs = append(errs, validateSliceEndpoint(&s.Endpoints[i], s.AddressType, path.Index(i))...)
	}
	return errs
}

func validateSliceEndpoint(e *discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("addresses")
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(at, ""))
	} else if len(e.Addresses) > maxSliceAddresses {
		errs = append(errs, field.TooMany(at, len(e.Addresses), maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateSliceAddress(a, t, at, i)...)
	}
	if e.NodeName != nil {
		errs = append(errs, validate.Subdomain(*e.NodeName, path.Child("nodeName"))...)
	}
	if e.Hostname != nil {
		errs = append(errs, validate.DNSLabel(*e.Hostname, path.Child("hostname"))...)
	}
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, path.Child("hints"))...)
	}
	return errs
}

func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	zones, nodes := path.Child("forZones"), path.Child("forNodes")
	if len(h.ForZones) > maxHints {
		return field.ErrorList{field.TooMany(zones, len(h.ForZones), maxHints)}
	}
	var errs field.ErrorList
	for i, z := range h.ForZones {
		at := zones.Index(i).Child("name")
		if slices.Contains(h.ForZones[:i], z) {
			errs = append(errs, field.Duplicate(at, z.Name))
		}
		errs = append(errs, validate.Each(at, z.Name, validation.IsValidLabelValue(z.Name))...)
	}
	if len(h.ForNodes) > maxHints {
		return append(errs, field.TooMany(nodes, len(h.ForNodes), maxHints))
	}
	for i, n := range h.ForNodes {
		at := nodes.Index(i).Child("name")
		if slices.Contains(h.ForNodes[:i], n) {
			errs = append(errs, field.Duplicate(at, n.Name))
		}
		errs = append(errs, validate.Subdomain(n.Name, at)...)
	}
	return errs
}

func validateSliceAddress(address string, t discoveryv1.AddressType, path *field.Path, index int) field.ErrorList {
	at := path.Index(index)
	var errs field.ErrorList
	var fits bool
	switch t {
	case discoveryv1.AddressTypeIPv4:
		errs, fits = validate.IP(address, nil, at), netutils.IsIPv4String(address)
	case discoveryv1.AddressTypeIPv6:
		errs, fits = validation.IsValidIP(at, address), netutils.IsIPv6String(address)
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(at, address)
	default:
		return nil
	}
	if len(errs) > 0 {
		return errs
	}
	if !fits {
		errs = append(errs, field.Invalid(path, address, fmt.Sprintf("must be an %s address", t)))
	}
	return append(errs, validateEndpointIP(address, at)...)
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	if len(ports) > maxSlicePorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxSlicePorts)}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		name := ptr.Deref(p.Name, "")
		if name != "" {
			errs = append(errs, validate.DNSLabel(name, at.Child("name"))...)
		}
		if names[name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names[name] = true
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, validate.Supported(*p.Protocol, at.Child("protocol"), validate.Protocols...)...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, validate.QualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}

// sliceWarnings tells of names instead of addresses, and of addresses that are written oddly. Those of the server's own
// controllers are not.
func sliceWarnings(s, old *discoveryv1.EndpointSlice) []string {
	var out []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		out = append(out, "spec.addressType: FQDN endpoints are deprecated")
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return out
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return out
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			out = append(out, ipWarnings(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return out
}

func slicePortsText(ports []discoveryv1.EndpointPort) string {
	if len(ports) == 0 {
		return unsetText
	}
	var all []string
	for _, p := range ports {
		text := "*"
		switch {
		case p.Port != nil:
			text = strconv.Itoa(int(*p.Port))
		case ptr.Deref(p.Name, "") != "":
			text = *p.Name
		}
		all = append(all, text)
	}
	return joinLimited(all, 3)
}

func sliceEndpointsText(endpoints []discoveryv1.Endpoint) string {
	if len(endpoints) == 0 {
		return unsetText
	}
	var all []string
	for _, e := range endpoints {
		all = append(all, e.Addresses...)
	}
	return joinLimited(all, 3)
}
