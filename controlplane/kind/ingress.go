package kind

import (
	"fmt"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// betaIngressClass is the annotation from before spec.ingressClassName.
const betaIngressClass = "kubernetes.io/ingress.class"

func ingressKind() *Kind {
	spec := networkingv1.IngressSpec{}.SwaggerDoc()
	return definition[*networkingv1.Ingress]{
		gv: networkingv1.SchemeGroupVersion, kind: "Ingress", plural: "ingresses", singular: "ingress", short: []string{"ing"}, namespaced: true, generation: true,
		new:           func() *networkingv1.Ingress { return &networkingv1.Ingress{} },
		list:          func() runtime.Object { return &networkingv1.IngressList{} },
		prepareCreate: func(i *networkingv1.Ingress) { i.Status = networkingv1.IngressStatus{} },
		prepareUpdate: func(i, old *networkingv1.Ingress) { i.Status = old.Status },
		validateCreate: func(i *networkingv1.Ingress) field.ErrorList {
			errs := validateIngress(i, ingressLeniency{})
			if class, ok := i.Annotations[betaIngressClass]; ok && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
				errs = append(errs, field.Invalid(field.NewPath("annotations", betaIngressClass), class, "must match `ingressClassName` when both are specified"))
			}
			return errs
		},
		validateUpdate: func(i, old *networkingv1.Ingress) field.ErrorList { return validateIngress(i, leniencyOf(old)) },
		warnings: func(i, old *networkingv1.Ingress) []string {
			if _, ok := i.Annotations[betaIngressClass]; !ok || i.Spec.IngressClassName != nil || old != nil {
				return nil
			}
			return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", betaIngressClass)}
		},
		status: &statusRules[*networkingv1.Ingress]{
			prepareUpdate: func(i, old *networkingv1.Ingress) { i.Spec = old.Spec },
			validate:      validateIngressStatus,
		},
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
	return []any{i.Name, orNone(ptr.Deref(i.Spec.IngressClassName, "")), text, strings.Join(addresses, ","), ports, age(i, now)}
}

// ingressLeniency is what an ingress may keep that was accepted once.
type ingressLeniency struct{ secretNames, wildcardRules bool }

func leniencyOf(old *networkingv1.Ingress) ingressLeniency {
	var l ingressLeniency
	for _, t := range old.Spec.TLS {
		l.secretNames = l.secretNames || t.SecretName != "" && len(validation.IsDNS1123Subdomain(t.SecretName)) > 0
	}
	for _, r := range old.Spec.Rules {
		l.wildcardRules = l.wildcardRules || strings.Contains(r.Host, "*") && len(validateIngressRule(r.HTTP, nil)) > 0
	}
	return l
}

func validateIngress(i *networkingv1.Ingress, allow ingressLeniency) field.ErrorList {
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
		if r.Host != "" {
			if netutils.ParseIPSloppy(r.Host) != nil {
				errs = append(errs, field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
			}
			errs = append(errs, validateIngressHost(r.Host, at.Child("host"))...)
		}
		if !strings.Contains(r.Host, "*") || !allow.wildcardRules {
			errs = append(errs, validateIngressRule(r.HTTP, at.Child("http", "paths"))...)
		}
	}
	for n, t := range i.Spec.TLS {
		at := path.Child("tls").Index(n)
		for m, host := range t.Hosts {
			errs = append(errs, validateIngressHost(host, at.Child("hosts").Index(m))...)
		}
		if t.SecretName != "" && !allow.secretNames {
			errs = append(errs, validate.Subdomain(t.SecretName, at.Child("secretName"))...)
		}
	}
	if c := i.Spec.IngressClassName; c != nil {
		errs = append(errs, validate.Subdomain(*c, path.Child("ingressClassName"))...)
	}
	return errs
}

func validateIngressHost(host string, path *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return validate.Each(path, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return validate.Subdomain(host, path)
}

func validateIngressRule(r *networkingv1.HTTPIngressRuleValue, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	errs := validate.RequiredList(r.Paths, path)
	for i := range r.Paths {
		errs = append(errs, validateIngressPath(&r.Paths[i], path.Index(i))...)
	}
	return errs
}

func validateIngressPath(p *networkingv1.HTTPIngressPath, path *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(path.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	at := path.Child("path")
	switch rooted := strings.HasPrefix(p.Path, "/"); *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !rooted {
			errs = append(errs, field.Invalid(at, p.Path, "must be an absolute path"))
		}
		for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, bad) {
				errs = append(errs, field.Invalid(at, p.Path, fmt.Sprintf("must not contain '%s'", bad)))
			}
		}
		for _, bad := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, bad) {
				errs = append(errs, field.Invalid(at, p.Path, fmt.Sprintf("cannot end with '%s'", bad)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !rooted {
			errs = append(errs, field.Invalid(at, p.Path, "must be an absolute path"))
		}
	default:
		errs = validate.Supported(*p.PathType, path.Child("pathType"), networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	}
	return append(errs, validateBackend(&p.Backend, path.Child("backend"))...)
}

func validateBackend(b *networkingv1.IngressBackend, path *field.Path) field.ErrorList {
	switch {
	case b.Service != nil && b.Resource != nil:
		return field.ErrorList{field.Invalid(path, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateTypedReference(b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, path.Child("resource"))
	case b.Service == nil:
		return field.ErrorList{field.Invalid(path, "", "resource or service backend is required")}
	}
	at := path.Child("service")
	var errs field.ErrorList
	errs = append(errs, validate.RequiredAs(b.Service.Name, validation.IsDNS1123Label, at.Child("name"))...)
	switch p := b.Service.Port; {
	case p.Name != "" && p.Number != 0:
		errs = append(errs, field.Invalid(path, "", "cannot set both port name & port number"))
	case p.Name != "":
		errs = append(errs, validate.Each(at.Child("port", "name"), p.Name, validation.IsValidPortName(p.Name))...)
	case p.Number != 0:
		errs = append(errs, validate.Each(at.Child("port", "number"), p.Number, validation.IsValidPortNum(int(p.Number)))...)
	default:
		errs = append(errs, field.Required(path, "port name or number is required"))
	}
	return errs
}

// validateTypedReference checks a reference to an object of any kind.
func validateTypedReference(group *string, kind, name string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if group != nil {
		errs = append(errs, validate.Subdomain(*group, path.Child("apiGroup"))...)
	}
	for _, part := range []struct{ name, value string }{{"kind", kind}, {"name", name}} {
		at := path.Child(part.name)
		errs = append(errs, validate.RequiredAs(part.value, content.IsPathSegmentName, at)...)
	}
	return errs
}

func validateIngressStatus(i, old *networkingv1.Ingress) field.ErrorList {
	var kept []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		kept = append(kept, in.IP)
	}
	var errs field.ErrorList
	for n, in := range i.Status.LoadBalancer.Ingress {
		errs = append(errs, validatePoint(in.IP, in.Hostname, kept, nil, field.NewPath("status", "loadBalancer", "ingress").Index(n))...)
	}
	return errs
}
