package kind

import (
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// managedByLabel says which controller wrote endpoints.
const managedByLabel = "endpoints.kubernetes.io/managed-by"

func endpointsKind() *Kind {
	docs := corev1.Endpoints{}.SwaggerDoc()
	k := definition[*corev1.Endpoints]{
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
		validateCreate: func(e *corev1.Endpoints) field.ErrorList { return validateEndpoints(e, nil) },
		validateUpdate: validateEndpoints,
		warnings:       endpointsWarnings,
		columns:        []metav1.TableColumnDefinition{nameColumn(), column("Endpoints", "string", docs["subsets"]), ageColumn()},
		row: func(e *corev1.Endpoints, now time.Time) []any {
			return []any{e.Name, formatEndpoints(e), age(e, now)}
		},
	}.build()
	k.Deprecation = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
	return k
}

func validateEndpoints(e, old *corev1.Endpoints) field.ErrorList {
	errs := validateSubsets(e.Subsets, field.NewPath("subsets"))
	if len(errs) > 0 && old != nil && apiequality.Semantic.DeepEqual(e.Subsets, old.Subsets) {
		return nil // what was accepted once stays acceptable
	}
	return errs
}

func validateSubsets(subsets []corev1.EndpointSubset, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range subsets {
		s, at := &subsets[i], path.Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(&s.Addresses[j], at.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))...)
		}
		for j := range s.Ports {
			errs = append(errs, validateEndpointPort(&s.Ports[j], len(s.Ports) > 1, at.Child("ports").Index(j))...)
		}
	}
	return errs
}

func validateEndpointPort(p *corev1.EndpointPort, named bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Name != "" {
		errs = validate.DNSLabel(p.Name, path.Child("name"))
	} else if named {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, validate.Each(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, validate.Protocol(p.Protocol, path.Child("protocol"))...)
	if p.AppProtocol != nil {
		errs = append(errs, validate.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := validate.IP(a.IP, nil, path.Child("ip"))
	if a.Hostname != "" {
		errs = append(errs, validate.DNSLabel(a.Hostname, path.Child("hostname"))...)
	}
	if a.NodeName != nil {
		errs = append(errs, validate.Subdomain(*a.NodeName, path.Child("nodeName"))...)
	}
	return append(errs, validateEndpointIP(a.IP, path.Child("ip"))...)
}

// endpointsWarnings tells of addresses that are written oddly. Those of the server's own controller are not.
func endpointsWarnings(e, _ *corev1.Endpoints) []string {
	if e.Labels[managedByLabel] == "endpoint-controller" {
		return nil
	}
	var out []string
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		for j, a := range s.Addresses {
			out = append(out, ipWarnings(at.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range s.NotReadyAddresses {
			out = append(out, ipWarnings(at.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return out
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
