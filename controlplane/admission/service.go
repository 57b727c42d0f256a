package admission

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// serviceAllocation gives services their cluster IP, node ports and IP families.
//
// It keeps no state that could leak or lag: a candidate is drawn at random and looked up in the index of what
// services hold. Two requests may draw the same one at once; then the claims of the store (kind.Kind.Claims)
// refuse the later, and the registry asks again.
type serviceAllocation struct {
	silent
	client Reader
	cidr   netip.Prefix
	ips    band
	ports  band
}

func newServiceAllocation(c Reader, cidr netip.Prefix, ports PortRange) (*serviceAllocation, error) {
	if !cidr.IsValid() || !cidr.Addr().Is4() || cidr.Bits() > 30 || cidr.Bits() < 8 {
		return nil, fmt.Errorf("cannot allocate cluster IPs from %s: want an IPv4 range between /8 and /30", cidr)
	}
	if ports.First < 1 || ports.Last > 65535 || ports.First > ports.Last {
		return nil, fmt.Errorf("cannot allocate node ports from %d-%d: want a range within 1-65535", ports.First, ports.Last)
	}
	size := 1 << (32 - cidr.Bits())
	return &serviceAllocation{
		client: c,
		cidr:   cidr.Masked(),
		// neither the network's nor the broadcast address; the low part is left to who chooses an address
		ips:   band{first: 1, last: size - 2, reserved: clamp(size/16, 16, 256)},
		ports: band{first: int(ports.First), last: int(ports.Last), reserved: clamp((int(ports.Last-ports.First)+1)/32, 16, 128)},
	}, nil
}

func (*serviceAllocation) Name() string { return "ServiceAllocation" }

func (p *serviceAllocation) Admit(ctx context.Context, r *Request) error {
	s, ok := r.Object.(*corev1.Service)
	if !ok || r.Subresource != "" {
		return nil
	}
	old, _ := r.Old.(*corev1.Service)
	if old == nil && s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 { // an older client knows one name of it
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if errs := p.families(s, old); len(errs) > 0 {
		return invalid(r, errs)
	}
	if err := p.clusterIP(ctx, r, s, old); err != nil {
		return err
	}
	return p.nodePorts(ctx, r, s, old)
}

func invalid(r *Request, errs field.ErrorList) error {
	return apierrors.NewInvalid(r.Kind.GroupKind(), nameOf(r), errs)
}

var specPath = field.NewPath("spec")

// families sets the IP families of a cluster that has IPv4 only, as Kubernetes does on a single-stack cluster.
func (p *serviceAllocation) families(s, old *corev1.Service) field.ErrorList {
	spec := &s.Spec
	if spec.Type == corev1.ServiceTypeExternalName || prefersAsBefore(s, old) {
		return nil
	}
	headless := spec.ClusterIP == corev1.ClusterIPNone
	// a headless service without a selector has endpoints of its owner's making, of any family
	free := headless && len(spec.Selector) == 0
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		switch {
		case old != nil && old.Spec.IPFamilyPolicy != nil:
			policy = *old.Spec.IPFamilyPolicy
		case free:
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
	// what follows need not think of what makes no sense
	if errs := kind.ValidateClusterIPs(s, old); len(errs) > 0 {
		return errs
	}
	single := *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	var errs field.ErrorList
	policyError := func(is bool, detail string) {
		if is {
			errs = append(errs, field.Invalid(specPath.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, detail))
		}
	}
	if old != nil {
		if single {
			narrow(spec, &old.Spec)
		} else {
			policyError(len(spec.ClusterIPs) > 0 && len(spec.ClusterIPs) < len(old.Spec.ClusterIPs), "must be 'SingleStack' to release the secondary cluster IP")
			policyError(len(spec.IPFamilies) > 0 && len(spec.IPFamilies) < len(old.Spec.IPFamilies), "must be 'SingleStack' to release the secondary IP family")
		}
	}
	policyError(single && len(spec.ClusterIPs) == 2, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
	policyError(single && len(spec.IPFamilies) == 2, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
	for i, ip := range spec.ClusterIPs {
		if headless || i < len(spec.IPFamilies) {
			continue
		}
		if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() {
			errs = append(errs, field.Invalid(specPath.Child("clusterIPs").Index(i), spec.ClusterIPs, "IPv6 is not configured on this cluster"))
			continue
		}
		spec.IPFamilies = append(slices.Clip(spec.IPFamilies), corev1.IPv4Protocol)
	}
	if len(errs) > 0 {
		return errs
	}
	if free {
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		}
		if !single && len(spec.IPFamilies) == 1 {
			spec.IPFamilies = append(slices.Clone(spec.IPFamilies), otherFamily(spec.IPFamilies[0]))
		}
		return nil
	}
	policyError(*spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack, "this cluster is not configured for dual-stack services")
	for i, f := range spec.IPFamilies {
		if f != corev1.IPv4Protocol {
			errs = append(errs, field.Invalid(specPath.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	if len(errs) == 0 && len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return errs
}

// prefersAsBefore says whether a service took what families there were, and leaves it at what it got.
func prefersAsBefore(s, old *corev1.Service) bool {
	const prefer = corev1.IPFamilyPolicyPreferDualStack
	return old != nil && s.Spec.Type == old.Spec.Type && kind.HasClusterIP(s) &&
		s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == prefer && (old.Spec.IPFamilyPolicy == nil || *old.Spec.IPFamilyPolicy == prefer) &&
		slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies)
}

// narrow drops the second family of a service that now wants one, where the client left them as they were.
func narrow(spec, old *corev1.ServiceSpec) {
	if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, old.ClusterIPs) {
		spec.ClusterIPs = spec.ClusterIPs[:1]
	}
	if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, old.IPFamilies) {
		spec.IPFamilies = spec.IPFamilies[:1]
	}
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// clusterIP checks the address that the service asks for, or finds one. A service keeps what it has.
func (p *serviceAllocation) clusterIP(ctx context.Context, r *Request, s, old *corev1.Service) error {
	if s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	if old != nil && old.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.ClusterIP != "" {
		return nil
	}
	if s.Spec.ClusterIP != "" {
		return p.checkIP(ctx, r, s)
	}
	at, err := p.ips.pick(func(n int) (bool, error) { return p.taken(ctx, kind.ClusterIPIndex, p.ip(n).String(), s) })
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", err))
	}
	s.Spec.ClusterIP = p.ip(at).String()
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	return nil
}

func (p *serviceAllocation) ip(n int) netip.Addr {
	b := p.cidr.Addr().As4()
	v := (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) + uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (p *serviceAllocation) checkIP(ctx context.Context, r *Request, s *corev1.Service) error {
	want := s.Spec.ClusterIP
	refuse := func(why string) error {
		return invalid(r, field.ErrorList{field.Invalid(specPath.Child("clusterIPs"), s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", want, why))})
	}
	addr, err := netip.ParseAddr(want)
	if err != nil {
		return nil // not an address: the kind's validation says so
	}
	if !p.cidr.Contains(addr) || addr == p.ip(0) || addr == p.ip(p.ips.last+1) {
		return refuse(fmt.Sprintf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", want, p.cidr))
	}
	taken, err := p.taken(ctx, kind.ClusterIPIndex, want, s)
	if err != nil {
		return err
	}
	if taken {
		return refuse("provided IP is already allocated")
	}
	return nil
}

// nodePorts checks the ports that the service asks for, or finds them. TCP and UDP ports of one service may
// share a number, and a service that has the same port in several protocols gets the same number for all.
func (p *serviceAllocation) nodePorts(ctx context.Context, r *Request, s, old *corev1.Service) error {
	had := map[int32]bool{}
	if old != nil {
		for _, port := range old.Spec.Ports {
			had[port.NodePort] = true
		}
		had[old.Spec.HealthCheckNodePort] = true
	}
	if s.Spec.Type != corev1.ServiceTypeNodePort && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil // ports that it may not have are for validation to refuse
	}
	if err := p.checkPorts(ctx, r, s, had); err != nil {
		return err
	}
	if kind.WantsNodePorts(s) {
		if err := p.findPorts(ctx, s); err != nil {
			return err
		}
	}
	if kind.WantsHealthCheckNodePort(s) && s.Spec.HealthCheckNodePort == 0 {
		port, err := p.pickPort(ctx, s, portsOf(s))
		if err != nil {
			return err
		}
		s.Spec.HealthCheckNodePort = port
	}
	return nil
}

func portsOf(s *corev1.Service) map[int32]bool {
	mine := map[int32]bool{}
	for _, port := range s.Spec.Ports {
		if port.NodePort != 0 {
			mine[port.NodePort] = true
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		mine[s.Spec.HealthCheckNodePort] = true
	}
	return mine
}

func (p *serviceAllocation) checkPorts(ctx context.Context, r *Request, s *corev1.Service, had map[int32]bool) error {
	var errs field.ErrorList
	check := func(port int32, path *field.Path) error {
		if port == 0 || had[port] {
			return nil
		}
		// a dry run takes no port, and Kubernetes does not ask then whether it could
		if !r.DryRun && (int(port) < p.ports.first || int(port) > p.ports.last) {
			errs = append(errs, field.Invalid(path, port, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", p.ports.first, p.ports.last)))
			return nil
		}
		taken, err := p.taken(ctx, kind.NodePortIndex, strconv.Itoa(int(port)), s)
		if taken {
			errs = append(errs, field.Invalid(path, port, "provided port is already allocated"))
		}
		return err
	}
	for i, port := range s.Spec.Ports {
		if err := check(port.NodePort, specPath.Child("ports").Index(i).Child("nodePort")); err != nil {
			return err
		}
	}
	if kind.WantsHealthCheckNodePort(s) {
		if err := check(s.Spec.HealthCheckNodePort, specPath.Child("healthCheckNodePort")); err != nil {
			return err
		}
	}
	if len(errs) > 0 {
		return invalid(r, errs)
	}
	return nil
}

func (p *serviceAllocation) findPorts(ctx context.Context, s *corev1.Service) error {
	mine := portsOf(s)
	// ports with the same number share a node port while their protocols differ
	same := map[int32]int32{}
	protocols := map[string]bool{}
	key := func(port int32, protocol corev1.Protocol) string { return fmt.Sprintf("%d/%s", port, protocol) }
	for _, port := range s.Spec.Ports {
		if port.NodePort != 0 {
			same[port.Port] = port.NodePort
			protocols[key(port.NodePort, port.Protocol)] = true
		}
	}
	for i := range s.Spec.Ports {
		port := &s.Spec.Ports[i]
		if port.NodePort != 0 {
			continue
		}
		if shared := same[port.Port]; shared != 0 && !protocols[key(shared, port.Protocol)] {
			port.NodePort = shared
		} else {
			picked, err := p.pickPort(ctx, s, mine)
			if err != nil {
				return err
			}
			port.NodePort = picked
			mine[picked] = true
		}
		same[port.Port] = port.NodePort
		protocols[key(port.NodePort, port.Protocol)] = true
	}
	return nil
}

func (p *serviceAllocation) pickPort(ctx context.Context, s *corev1.Service, mine map[int32]bool) (int32, error) {
	port, err := p.ports.pick(func(n int) (bool, error) {
		if mine[int32(n)] {
			return true, nil
		}
		return p.taken(ctx, kind.NodePortIndex, strconv.Itoa(n), s)
	})
	if err != nil {
		return 0, apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
	}
	return int32(port), nil
}

// taken says whether another service holds the value.
func (p *serviceAllocation) taken(ctx context.Context, index, value string, s *corev1.Service) (bool, error) {
	holders, err := p.client().List(ctx, kind.Of[*corev1.Service](), client.Query{Index: index, Value: value})
	if err != nil {
		return false, err
	}
	for _, h := range holders {
		if h.GetNamespace() != s.Namespace || h.GetName() != s.Name {
			return true, nil
		}
	}
	return false, nil
}
