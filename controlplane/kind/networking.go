package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func ingressKind() *Kind {
	spec := networkingv1.IngressSpec{}.SwaggerDoc()
	return definition[*networkingv1.Ingress]{
		gv: networkingv1.SchemeGroupVersion, kind: "Ingress", plural: "ingresses", singular: "ingress", short: []string{"ing"}, namespaced: true, generation: true,
		new:           func() *networkingv1.Ingress { return &networkingv1.Ingress{} },
		list:          func() runtime.Object { return &networkingv1.IngressList{} },
		prepareCreate: func(i *networkingv1.Ingress) { i.Status = networkingv1.IngressStatus{} },
		prepareUpdate: func(i, old *networkingv1.Ingress) { i.Status = old.Status },
		validate:      validateIngress,
		status:        &statusRules[*networkingv1.Ingress]{prepareUpdate: func(i, old *networkingv1.Ingress) { i.Spec = old.Spec }},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Class", "string", spec["ingressClassName"]),
			column("Hosts", "string", "Hosts that incoming requests are matched against before the ingress rule"),
			column("Address", "string", "Address is a list containing ingress points for the load-balancer"),
			column("Ports", "string", "Ports of TLS configurations that open"), ageColumn(),
		},
		row: ingressRow,
	}.build()
}

func ingressRow(i *networkingv1.Ingress, now time.Time) []any {
	var hosts, addresses []string
	for _, r := range i.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	text := joinLimited(hosts, 3)
	if len(hosts) == 0 {
		text = "*"
	}
	for _, in := range i.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			addresses = append(addresses, in.IP)
		} else if in.Hostname != "" {
			addresses = append(addresses, in.Hostname)
		}
	}
	ports := "80"
	if len(i.Spec.TLS) > 0 {
		ports = "80, 443"
	}
	return []any{i.Name, orNone(deref(i.Spec.IngressClassName, "")), text, strings.Join(addresses, ","), ports, age(i, now)}
}

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if len(i.Spec.Rules) == 0 && i.Spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(path, i.Spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if i.Spec.DefaultBackend != nil {
		errs = append(errs, validateBackend(i.Spec.DefaultBackend, path.Child("defaultBackend"))...)
	}
	for n, r := range i.Spec.Rules {
		at := path.Child("rules").Index(n)
		errs = append(errs, validateIngressHost(r.Host, at.Child("host"))...)
		if r.HTTP == nil {
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			errs = append(errs, field.Required(at.Child("http", "paths"), ""))
		}
		for m, p := range r.HTTP.Paths {
			errs = append(errs, validateIngressPath(&p, at.Child("http", "paths").Index(m))...)
		}
	}
	for n, t := range i.Spec.TLS {
		for m, host := range t.Hosts {
			errs = append(errs, validateIngressHost(host, path.Child("tls").Index(n).Child("hosts").Index(m))...)
		}
	}
	if c := i.Spec.IngressClassName; c != nil {
		errs = append(errs, invalidEach(path.Child("ingressClassName"), *c, validation.IsDNS1123Subdomain(*c))...)
	}
	return errs
}

func validateIngressHost(host string, path *field.Path) field.ErrorList {
	switch {
	case host == "":
		return nil
	case netutils.ParseIPSloppy(host) != nil:
		return field.ErrorList{field.Invalid(path, host, "must be a DNS name, not an IP address")}
	case strings.Contains(host, "*"):
		return invalidEach(path, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return invalidEach(path, host, validation.IsDNS1123Subdomain(host))
}

func validateIngressPath(p *networkingv1.HTTPIngressPath, path *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(path.Child("pathType"), "pathType must be specified")}
	}
	errs := oneOf(*p.PathType, path.Child("pathType"), networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific)
	rooted := strings.HasPrefix(p.Path, "/")
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !rooted {
			errs = append(errs, field.Invalid(path.Child("path"), p.Path, "must be an absolute path"))
		}
		for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, bad) {
				errs = append(errs, field.Invalid(path.Child("path"), p.Path, fmt.Sprintf("must not contain '%s'", bad)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !rooted {
			errs = append(errs, field.Invalid(path.Child("path"), p.Path, "must be an absolute path"))
		}
	}
	return append(errs, validateBackend(&p.Backend, path.Child("backend"))...)
}

func validateBackend(b *networkingv1.IngressBackend, path *field.Path) field.ErrorList {
	switch {
	case b.Service != nil && b.Resource != nil:
		return field.ErrorList{field.Invalid(path, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		if b.Resource.Name == "" {
			return field.ErrorList{field.Required(path.Child("resource", "name"), "")}
		}
		return nil
	case b.Service == nil:
		return field.ErrorList{field.Invalid(path, "", "must specify a resource or service backend")}
	}
	at := path.Child("service")
	var errs field.ErrorList
	if b.Service.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, invalidEach(at.Child("name"), b.Service.Name, validation.IsDNS1123Label(b.Service.Name))...)
	}
	switch p := b.Service.Port; {
	case p.Name != "" && p.Number != 0:
		errs = append(errs, field.Invalid(path, "", "cannot set both port name & port number"))
	case p.Name != "":
		errs = append(errs, invalidEach(at.Child("port", "name"), p.Name, validation.IsValidPortName(p.Name))...)
	case p.Number != 0:
		errs = append(errs, invalidEach(at.Child("port", "number"), p.Number, validation.IsValidPortNum(int(p.Number)))...)
	default:
		errs = append(errs, field.Required(path, "port name or number is required"))
	}
	return errs
}

func ingressClassKind() *Kind {
	spec := networkingv1.IngressClassSpec{}.SwaggerDoc()
	return definition[*networkingv1.IngressClass]{
		gv: networkingv1.SchemeGroupVersion, kind: "IngressClass", plural: "ingressclasses", singular: "ingressclass", generation: true,
		new:  func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} },
		list: func() runtime.Object { return &networkingv1.IngressClassList{} },
		defaults: func(c *networkingv1.IngressClass) {
			if p := c.Spec.Parameters; p != nil {
				setDefault(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		},
		validate: func(c *networkingv1.IngressClass) field.ErrorList {
			path := field.NewPath("spec", "controller")
			var errs field.ErrorList
			if len(c.Spec.Controller) > 250 {
				errs = append(errs, field.TooLong(path, c.Spec.Controller, 250))
			}
			return append(errs, validation.IsDomainPrefixedPath(path, c.Spec.Controller)...)
		},
		validateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
			return immutable(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Controller", "string", spec["controller"]), column("Parameters", "string", spec["parameters"]), ageColumn(),
		},
		row: func(c *networkingv1.IngressClass, now time.Time) []any {
			parameters := noneText
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind + "/" + p.Name
				if g := deref(p.APIGroup, ""); g != "" {
					parameters = p.Kind + "." + g + "/" + p.Name
				}
			}
			return []any{c.Name, c.Spec.Controller, parameters, age(c, now)}
		},
	}.build()
}

func networkPolicyKind() *Kind {
	return definition[*networkingv1.NetworkPolicy]{
		gv: networkingv1.SchemeGroupVersion, kind: "NetworkPolicy", plural: "networkpolicies", singular: "networkpolicy", short: []string{"netpol"}, namespaced: true, generation: true,
		new:      func() *networkingv1.NetworkPolicy { return &networkingv1.NetworkPolicy{} },
		list:     func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
		defaults: defaultNetworkPolicy,
		validate: validateNetworkPolicy,
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Pod-Selector", "string", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]), ageColumn(),
		},
		row: func(p *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{p.Name, formatSelector(&p.Spec.PodSelector), age(p, now)}
		},
	}.build()
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	port := func(ports []networkingv1.NetworkPolicyPort) {
		for i := range ports {
			setDefault(&ports[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for i := range p.Spec.Ingress {
		port(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		port(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

func validateNetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	path := field.NewPath("spec")
	errs := metavalidation.ValidateLabelSelector(&p.Spec.PodSelector, strictSelector, path.Child("podSelector"))
	for i, r := range p.Spec.Ingress {
		at := path.Child("ingress").Index(i)
		errs = append(errs, validatePolicyPorts(r.Ports, at.Child("ports"))...)
		errs = append(errs, validatePeers(r.From, at.Child("from"))...)
	}
	for i, r := range p.Spec.Egress {
		at := path.Child("egress").Index(i)
		errs = append(errs, validatePolicyPorts(r.Ports, at.Child("ports"))...)
		errs = append(errs, validatePeers(r.To, at.Child("to"))...)
	}
	for i, t := range p.Spec.PolicyTypes {
		errs = append(errs, oneOf(t, path.Child("policyTypes").Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func validatePolicyPorts(ports []networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := path.Index(i)
		if p.Protocol != nil {
			errs = append(errs, validateProtocol(*p.Protocol, at.Child("protocol"))...)
		}
		if p.Port != nil {
			errs = append(errs, validatePortRef(*p.Port, at.Child("port"))...)
		}
		if p.EndPort == nil {
			continue
		}
		switch end := at.Child("endPort"); {
		case p.Port == nil:
			errs = append(errs, field.Required(at.Child("port"), "must be specified when `endPort` is specified"))
		case p.Port.Type == intstr.String:
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		case *p.EndPort < p.Port.IntVal:
			errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
		default:
			errs = append(errs, invalidEach(end, *p.EndPort, validation.IsValidPortNum(int(*p.EndPort)))...)
		}
	}
	return errs
}

func validatePeers(peers []networkingv1.NetworkPolicyPeer, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range peers {
		at := path.Index(i)
		errs = append(errs, metavalidation.ValidateLabelSelector(p.PodSelector, strictSelector, at.Child("podSelector"))...)
		errs = append(errs, metavalidation.ValidateLabelSelector(p.NamespaceSelector, strictSelector, at.Child("namespaceSelector"))...)
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock != nil && selects:
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		case p.IPBlock == nil && !selects:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case p.IPBlock != nil:
			errs = append(errs, validateIPBlock(p.IPBlock, at.Child("ipBlock"))...)
		}
	}
	return errs
}

func validateIPBlock(b *networkingv1.IPBlock, path *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(path.Child("cidr"), "")}
	}
	errs := validation.IsValidCIDRForLegacyField(path.Child("cidr"), b.CIDR, false, nil)
	if len(errs) > 0 {
		return errs
	}
	_, outer, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("cidr"), b.CIDR, err.Error())}
	}
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		if bad := validation.IsValidCIDRForLegacyField(at, except, false, nil); len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		_, inner, err := netutils.ParseCIDRSloppy(except)
		if err != nil {
			errs = append(errs, field.Invalid(at, except, err.Error()))
			continue
		}
		outerBits, _ := outer.Mask.Size()
		innerBits, _ := inner.Mask.Size()
		if !outer.Contains(inner.IP) || outerBits >= innerBits {
			errs = append(errs, field.Invalid(at, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
