package kind

import (
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

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func networkPolicyKind() *Kind {
	return definition[*networkingv1.NetworkPolicy]{
		gv: networkingv1.SchemeGroupVersion, kind: "NetworkPolicy", plural: "networkpolicies", singular: "networkpolicy", short: []string{"netpol"}, namespaced: true, generation: true,
		new:      func() *networkingv1.NetworkPolicy { return &networkingv1.NetworkPolicy{} },
		list:     func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
		defaults: defaultNetworkPolicy,
		prepareUpdate: func(p, old *networkingv1.NetworkPolicy) {
			if !sameAsStored(p, old) {
				p.Generation = old.Generation + 1
			}
		},
		validateCreate: func(p *networkingv1.NetworkPolicy) field.ErrorList { return validateNetworkPolicy(p, policyLeniency{}) },
		validateUpdate: func(p, old *networkingv1.NetworkPolicy) field.ErrorList {
			return validateNetworkPolicy(p, policyLeniencyOf(old))
		},
		warnings: func(p, _ *networkingv1.NetworkPolicy) []string { return networkPolicyWarnings(p) },
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
			defaults.Pointer(&ports[i].Protocol, corev1.ProtocolTCP)
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

// policyLeniency is what a policy may keep that was accepted once.
type policyLeniency struct {
	selectors metavalidation.LabelSelectorValidationOptions
	cidrs     []string
}

func policyLeniencyOf(old *networkingv1.NetworkPolicy) policyLeniency {
	var l policyLeniency
	l.selectors.AllowInvalidLabelValueInSelector = len(validate.Selector(&old.Spec.PodSelector, nil)) > 0
	eachIPBlock(old, func(b *networkingv1.IPBlock, _ *field.Path) {
		l.cidrs = append(append(l.cidrs, b.CIDR), b.Except...)
	})
	return l
}

func eachIPBlock(p *networkingv1.NetworkPolicy, f func(b *networkingv1.IPBlock, path *field.Path)) {
	peers := func(list []networkingv1.NetworkPolicyPeer, path *field.Path) {
		for i, p := range list {
			if p.IPBlock != nil {
				f(p.IPBlock, path.Index(i).Child("ipBlock"))
			}
		}
	}
	for i, r := range p.Spec.Ingress {
		peers(r.From, field.NewPath("spec", "ingress").Index(i).Child("from"))
	}
	for i, r := range p.Spec.Egress {
		peers(r.To, field.NewPath("spec", "egress").Index(i).Child("to"))
	}
}

func networkPolicyWarnings(p *networkingv1.NetworkPolicy) []string {
	var out []string
	eachIPBlock(p, func(b *networkingv1.IPBlock, path *field.Path) {
		out = append(out, cidrWarnings(path.Child("cidr"), b.CIDR)...)
		for i, except := range b.Except {
			out = append(out, cidrWarnings(path.Child("except").Index(i), except)...)
		}
	})
	return out
}

func validateNetworkPolicy(p *networkingv1.NetworkPolicy, allow policyLeniency) field.ErrorList {
	errs := validatePolicyRules(p, allow)
	eachIPBlock(p, func(b *networkingv1.IPBlock, path *field.Path) {
		errs = append(errs, validate.Required(b.CIDR, path.Child("cidr"))...)
	})
	return errs
}

func validatePolicyRules(p *networkingv1.NetworkPolicy, allow policyLeniency) field.ErrorList {
	path := field.NewPath("spec")
	errs := metavalidation.ValidateLabelSelector(&p.Spec.PodSelector, allow.selectors, path.Child("podSelector"))
	for i, r := range p.Spec.Ingress {
		at := path.Child("ingress").Index(i)
		errs = append(errs, validatePolicyPorts(r.Ports, at.Child("ports"))...)
		errs = append(errs, validatePeers(r.From, allow, at.Child("from"))...)
	}
	for i, r := range p.Spec.Egress {
		at := path.Child("egress").Index(i)
		errs = append(errs, validatePolicyPorts(r.Ports, at.Child("ports"))...)
		errs = append(errs, validatePeers(r.To, allow, at.Child("to"))...)
	}
	if len(p.Spec.PolicyTypes) > 2 {
		return append(errs, field.Invalid(path.Child("policyTypes"), &p.Spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range p.Spec.PolicyTypes {
		errs = append(errs, validate.Supported(t, path.Child("policyTypes").Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func validatePolicyPorts(ports []networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := path.Index(i)
		if p.Protocol != nil {
			errs = append(errs, validate.Supported(*p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		}
		end := at.Child("endPort")
		switch {
		case p.Port == nil:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
			}
		case p.Port.Type == intstr.String:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
			}
			errs = append(errs, validate.PortRef(*p.Port, at.Child("port"))...)
		default:
			errs = append(errs, validate.PortRef(*p.Port, at.Child("port"))...)
			if p.EndPort == nil {
				continue
			}
			if *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
			}
			errs = append(errs, validate.Each(end, *p.EndPort, validation.IsValidPortNum(int(*p.EndPort)))...)
		}
	}
	return errs
}

func validatePeers(peers []networkingv1.NetworkPolicyPeer, allow policyLeniency, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range peers {
		at := path.Index(i)
		errs = append(errs, metavalidation.ValidateLabelSelector(p.PodSelector, allow.selectors, at.Child("podSelector"))...)
		errs = append(errs, metavalidation.ValidateLabelSelector(p.NamespaceSelector, allow.selectors, at.Child("namespaceSelector"))...)
		if p.IPBlock != nil {
			errs = append(errs, validateIPBlock(p.IPBlock, allow.cidrs, at.Child("ipBlock"))...)
		}
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock == nil && !selects:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case p.IPBlock != nil && selects:
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
	}
	return errs
}

func validateIPBlock(b *networkingv1.IPBlock, kept []string, path *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return nil // said where there is nothing else to say
	}
	errs := validation.IsValidCIDRForLegacyField(path.Child("cidr"), b.CIDR, true, kept)
	_, outer, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return errs
	}
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		errs = append(errs, validation.IsValidCIDRForLegacyField(at, except, true, kept)...)
		_, inner, err := netutils.ParseCIDRSloppy(except)
		if err != nil {
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
