package kind

import (
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// ServiceIndex lists endpoint slices by the service that their label names, in their namespace.
const ServiceIndex = "service"

// Limits of an endpoint slice.
const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 100
	maxSliceAddresses = 100
	maxZoneHints      = 8
)

func endpointsKind() *Kind {
	docs := corev1.Endpoints{}.SwaggerDoc()
	return definition[*corev1.Endpoints]{
		gv: corev1.SchemeGroupVersion, kind: "Endpoints", plural: "endpoints", singular: "endpoints", short: []string{"ep"}, namespaced: true,
		new:  func() *corev1.Endpoints { return &corev1.Endpoints{} },
		list: func() runtime.Object { return &corev1.EndpointsList{} },
		defaults: func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					if p := &e.Subsets[i].Ports[j]; p.Protocol == "" {
						p.Protocol = corev1.ProtocolTCP
					}
				}
			}
		},
		validate: validateEndpoints,
		warnings: func(_, old *corev1.Endpoints) []string {
			return []string{"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
		},
		columns: []metav1.TableColumnDefinition{nameColumn(), column("Endpoints", "string", docs["subsets"]), ageColumn()},
		row: func(e *corev1.Endpoints, now time.Time) []any {
			return []any{e.Name, formatEndpoints(e), age(e, now)}
		},
	}.build()
}

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	var errs field.ErrorList
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(&s.Addresses[j], at.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))...)
		}
		for j, p := range s.Ports {
			at := at.Child("ports").Index(j)
			if len(s.Ports) > 1 && p.Name == "" {
				errs = append(errs, field.Required(at.Child("name"), ""))
			} else if p.Name != "" {
				errs = append(errs, invalidEach(at.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
			}
			errs = append(errs, invalidEach(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
			errs = append(errs, validateProtocol(p.Protocol, at.Child("protocol"))...)
			if p.AppProtocol != nil {
				errs = append(errs, invalidEach(at.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
			}
		}
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := validation.IsValidIP(path.Child("ip"), a.IP)
	if len(errs) == 0 {
		errs = validateEndpointIP(a.IP, path.Child("ip"))
	}
	if a.Hostname != "" {
		errs = append(errs, invalidEach(path.Child("hostname"), a.Hostname, validation.IsDNS1123Label(a.Hostname))...)
	}
	if a.NodeName != nil {
		errs = append(errs, invalidEach(path.Child("nodeName"), *a.NodeName, validation.IsDNS1123Subdomain(*a.NodeName))...)
	}
	return errs
}

// validateEndpointIP keeps out the addresses that would let a service reach what is not an endpoint.
func validateEndpointIP(address string, path *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(address)
	var errs field.ErrorList
	refuse := func(is bool, detail string) {
		if is {
			errs = append(errs, field.Invalid(path, address, detail))
		}
	}
	refuse(ip.IsUnspecified(), fmt.Sprintf("may not be unspecified (%v)", address))
	refuse(ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	refuse(ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	refuse(ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	return errs
}

func formatEndpoints(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return noneText
	}
	var all []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 { // headless services may have no ports
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return joinLimited(all, 3)
}

func endpointSliceKind() *Kind {
	docs := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return definition[*discoveryv1.EndpointSlice]{
		gv: discoveryv1.SchemeGroupVersion, kind: "EndpointSlice", plural: "endpointslices", singular: "endpointslice", namespaced: true, generation: true,
		new:      func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
		list:     func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		defaults: defaultEndpointSlice,
		validate: validateEndpointSlice,
		validateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			return immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))
		},
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

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := oneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	if len(s.Endpoints) > maxSliceEndpoints {
		return append(errs, field.TooMany(field.NewPath("endpoints"), len(s.Endpoints), maxSliceEndpoints))
	}
	for i := range s.Endpoints {
		errs = append(errs, validateSliceEndpoint(&s.Endpoints[i], s.AddressType, field.NewPath("endpoints").Index(i))...)
	}
	return append(errs, validateSlicePorts(s.Ports, field.NewPath("ports"))...)
}

func validateSliceEndpoint(e *discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("addresses")
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(at, "must contain at least 1 address"))
	} else if len(e.Addresses) > maxSliceAddresses {
		errs = append(errs, field.TooMany(at, len(e.Addresses), maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateSliceAddress(a, t, at.Index(i))...)
	}
	if e.NodeName != nil {
		errs = append(errs, invalidEach(path.Child("nodeName"), *e.NodeName, validation.IsDNS1123Subdomain(*e.NodeName))...)
	}
	errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, path.Child("deprecatedTopology"))...)
	if e.Hostname != nil {
		errs = append(errs, invalidEach(path.Child("hostname"), *e.Hostname, validation.IsDNS1123Label(*e.Hostname))...)
	}
	if e.Hints != nil {
		zones := path.Child("hints", "forZones")
		if len(e.Hints.ForZones) > maxZoneHints {
			errs = append(errs, field.TooMany(zones, len(e.Hints.ForZones), maxZoneHints))
		}
		for i, z := range e.Hints.ForZones {
			errs = append(errs, invalidEach(zones.Index(i).Child("name"), z.Name, validation.IsValidLabelValue(z.Name))...)
		}
	}
	return errs
}

func validateSliceAddress(address string, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(address)
	switch t {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		errs := validation.IsValidIP(path, address)
		if len(errs) > 0 {
			return errs
		}
		if want6 := t == discoveryv1.AddressTypeIPv6; (ip.To4() == nil) != want6 {
			return field.ErrorList{field.Invalid(path, address, fmt.Sprintf("must be an %s address", t))}
		}
		return validateEndpointIP(address, path)
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(path, address)
	}
	return nil
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	if len(ports) > maxSlicePorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxSlicePorts)}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		name := deref(p.Name, "")
		if name != "" {
			errs = append(errs, invalidEach(at.Child("name"), name, validation.IsDNS1123Label(name))...)
		}
		if names[name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names[name] = true
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, validateProtocol(*p.Protocol, at.Child("protocol"))...)
		}
		if p.Port != nil {
			errs = append(errs, invalidEach(at.Child("port"), *p.Port, validation.IsValidPortNum(int(*p.Port)))...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, invalidEach(at.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
		}
	}
	return errs
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
		case deref(p.Name, "") != "":
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

func validateProtocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	return oneOf(p, path, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}
