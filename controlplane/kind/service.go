package kind

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
)

// Indexes of services by what only one may hold: an address, and the number of a node port or health check port.
const (
	ClusterIPIndex = "clusterIP"
	NodePortIndex  = "nodePort"
)

func serviceKind() *Kind {
	docs := corev1.ServiceSpec{}.SwaggerDoc()
	return definition[*corev1.Service]{
		gv: corev1.SchemeGroupVersion, kind: "Service", plural: "services", singular: "service",
		short: []string{"svc"}, categories: []string{"all"}, namespaced: true,
		new:            func() *corev1.Service { return &corev1.Service{} },
		list:           func() runtime.Object { return &corev1.ServiceList{} },
		defaults:       defaultService,
		prepareCreate:  func(s *corev1.Service) { s.Status = corev1.ServiceStatus{} },
		prepareUpdate:  prepareServiceUpdate,
		validateCreate: func(s *corev1.Service) field.ErrorList { return validateService(s, nil) },
		validateUpdate: validateServiceUpdate,
		validName:      apivalidation.NameIsDNSLabel,
		warnings:       func(s, _ *corev1.Service) []string { return serviceWarnings(s) },
		status: &statusRules[*corev1.Service]{
			prepareUpdate: func(s, old *corev1.Service) { s.Spec = old.Spec },
			validate:      validateServiceStatus,
		},
		fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		claims: serviceClaims,
		indexes: map[string]func(*corev1.Service) []string{
			ClusterIPIndex: func(s *corev1.Service) []string {
				return slices.DeleteFunc(slices.Clone(s.Spec.ClusterIPs), func(ip string) bool { return ip == "" || ip == corev1.ClusterIPNone })
			},
			NodePortIndex: serviceNodePorts,
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Type", "string", docs["type"]), column("Cluster-IP", "string", docs["clusterIP"]),
			column("External-IP", "string", docs["externalIPs"]), column("Port(s)", "string", docs["ports"]), ageColumn(),
			wide("Selector", "string", docs["selector"]),
		},
		row: func(s *corev1.Service, now time.Time) []any {
			ip := s.Spec.ClusterIP
			if len(s.Spec.ClusterIPs) > 0 {
				ip = s.Spec.ClusterIPs[0]
			}
			return []any{
				s.Name, string(s.Spec.Type), orNone(ip), externalIPText(s), servicePortsText(s.Spec.Ports), age(s, now),
				formatLabels(s.Spec.Selector),
			}
		},
	}.build()
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	defaults.Value(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	defaults.Value(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		defaults.Value(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if spec.ExternalTrafficPolicy == "" && externallyAccessible(s) {
		spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	if HasClusterIP(s) {
		defaults.Pointer(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		defaults.Pointer(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				defaults.Pointer(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

func externallyAccessible(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort ||
		s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

// HasClusterIP says whether services of this type have a cluster IP, which may be "None".
func HasClusterIP(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	}
	return false
}

// WantsNodePorts says whether each port of the service is to have a node port.
func WantsNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return ptr.Deref(s.Spec.AllocateLoadBalancerNodePorts, true)
	}
	return false
}

// WantsHealthCheckNodePort says whether the service has a port at which load balancers ask for local endpoints.
func WantsHealthCheckNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// prepareServiceUpdate keeps what was allocated and the client left out, and drops what the new type has not.
func prepareServiceUpdate(s, old *corev1.Service) {
	s.Status = old.Status
	keepAllocated(s, old)
	normalizeClusterIPs(s, old)
	dropTypeDependent(s, old)
}

// normalizeClusterIPs lets a client that knows clusterIP only change it: clusterIPs follows.
func normalizeClusterIPs(s, old *corev1.Service) {
	if len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP == old.Spec.ClusterIP {
		s.Spec.ClusterIPs = old.Spec.ClusterIPs
	}
	if s.Spec.ClusterIP == old.Spec.ClusterIP || !slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
		return
	}
	s.Spec.ClusterIPs = nil
	if s.Spec.ClusterIP != "" {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
}

func keepAllocated(s, old *corev1.Service) {
	if s.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.Type != corev1.ServiceTypeExternalName {
		if s.Spec.ClusterIP == "" {
			s.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = old.Spec.ClusterIPs
		}
	}
	if WantsNodePorts(s) && WantsNodePorts(old) {
		keepNodePorts(s.Spec.Ports, old.Spec.Ports)
	}
	if WantsHealthCheckNodePort(s) && WantsHealthCheckNodePort(old) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// keepNodePorts gives ports without a node port the one of the old port with the same name, unless the client wrote that
// to another port.
func keepNodePorts(ports, old []corev1.ServicePort) {
	named, written := map[string]int32{}, map[int32]bool{}
	for _, p := range old {
		named[p.Name] = p.NodePort
	}
	for _, p := range ports {
		written[p.NodePort] = true
	}
	for i := range ports {
		p := &ports[i]
		if had := named[p.Name]; p.NodePort == 0 && !written[had] {
			p.NodePort = had
		}
	}
}

// dropTypeDependent clears the fields that the old type had and the new one has not, where the client left
// them as they were: what it set on purpose is for validation to refuse.
func dropTypeDependent(s, old *corev1.Service) {
	now, was := &s.Spec, &old.Spec
	if was.Type != corev1.ServiceTypeExternalName && now.Type == corev1.ServiceTypeExternalName {
		if now.ClusterIP == was.ClusterIP && slices.Equal(now.ClusterIPs, was.ClusterIPs) {
			now.ClusterIP, now.ClusterIPs = "", nil
		}
		if slices.Equal(now.IPFamilies, was.IPFamilies) {
			now.IPFamilies = nil
		}
		if ptr.Deref(now.IPFamilyPolicy, "") == ptr.Deref(was.IPFamilyPolicy, "") {
			now.IPFamilyPolicy = nil
		}
	}
	if mayHaveNodePorts(old) && !mayHaveNodePorts(s) && sameNodePorts(s, old) {
		for i := range now.Ports {
			now.Ports[i].NodePort = 0
		}
	}
	if WantsHealthCheckNodePort(old) && !WantsHealthCheckNodePort(s) && now.HealthCheckNodePort == was.HealthCheckNodePort {
		now.HealthCheckNodePort = 0
	}
	if was.Type == corev1.ServiceTypeLoadBalancer && now.Type != corev1.ServiceTypeLoadBalancer {
		if a := now.AllocateLoadBalancerNodePorts; a != nil && was.AllocateLoadBalancerNodePorts != nil && *a == *was.AllocateLoadBalancerNodePorts {
			now.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(now.LoadBalancerClass, was.LoadBalancerClass) {
			now.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(s) && now.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		now.ExternalTrafficPolicy = ""
	}
	if now.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// mayHaveNodePorts says whether ports of the service may have a node port, whoever chooses it.
func mayHaveNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func sameNodePorts(s, old *corev1.Service) bool {
	had := map[int32]bool{}
	for _, p := range old.Spec.Ports {
		had[p.NodePort] = true
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 && !had[p.NodePort] {
			return false
		}
	}
	return true
}

// serviceClaims are the addresses and ports that no other service may have. The health check port is a TCP
// port of the nodes like any other.
func serviceClaims(s *corev1.Service) []string {
	var claims []string
	seen := map[string]bool{}
	add := func(claim string) {
		if !seen[claim] {
			seen[claim] = true
			claims = append(claims, claim)
		}
	}
	for _, ip := range s.Spec.ClusterIPs {
		if ip != "" && ip != corev1.ClusterIPNone {
			add("clusterip/" + ip)
		}
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			add(fmt.Sprintf("nodeport/%s/%d", p.Protocol, p.NodePort))
		}
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		add(fmt.Sprintf("nodeport/%s/%d", corev1.ProtocolTCP, p))
	}
	return claims
}

func serviceNodePorts(s *corev1.Service) []string {
	var ports []string
	add := func(port int32) {
		if text := strconv.Itoa(int(port)); port != 0 && !slices.Contains(ports, text) {
			ports = append(ports, text)
		}
	}
	for _, p := range s.Spec.Ports {
		add(p.NodePort)
	}
	add(s.Spec.HealthCheckNodePort)
	return ports
}

func externalIPText(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orNone(strings.Join(s.Spec.ExternalIPs, ","))
	case corev1.ServiceTypeLoadBalancer:
		var ips []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				ips = append(ips, in.IP)
			} else if in.Hostname != "" {
				ips = append(ips, in.Hostname)
			}
		}
		if ips = append(ips, s.Spec.ExternalIPs...); len(ips) == 0 {
			return "<pending>"
		}
		return strings.Join(ips, ",")
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return unknownText
}

func servicePortsText(ports []corev1.ServicePort) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			texts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return orNone(strings.Join(texts, ","))
}
