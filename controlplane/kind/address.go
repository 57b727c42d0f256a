package kind

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// validateEndpointIP keeps out the addresses that would let a service reach what is not an endpoint.
func validateEndpointIP(address string, path *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(address)
	if ip == nil {
		return field.ErrorList{field.Invalid(path, address, "must be a valid IP address")}
	}
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

// ipWarnings tells of an address that is written oddly; what is none has been refused, or nothing looks at it.
func ipWarnings(path *field.Path, address string) []string {
	if netutils.ParseIPSloppy(address) == nil {
		return nil
	}
	return validation.GetWarningsForIP(path, address)
}

// cidrWarnings tells of a range that is written oddly.
func cidrWarnings(path *field.Path, cidr string) []string {
	if _, _, err := netutils.ParseCIDRSloppy(cidr); err != nil {
		return nil
	}
	return validation.GetWarningsForCIDR(path, cidr)
}

// validateIPs accepts one address, or one of each family.
func validateIPs(ips, old []string, value any, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range ips {
		errs = append(errs, validate.IP(ip, old, path.Index(i))...)
	}
	if len(ips) < 2 {
		return errs
	}
	both, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		errs = append(errs, field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%w", err)))
	}
	if !both || len(ips) > 2 {
		errs = append(errs, field.Invalid(path, value, "may specify no more than one IP for each IP family"))
	}
	return errs
}

// validatePoint checks where a load balancer takes traffic in; between says what is wrong with the rest of it.
func validatePoint(ip, hostname string, kept []string, between field.ErrorList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ip != "" {
		errs = append(errs, validate.IP(ip, kept, path.Child("ip"))...)
	}
	errs = append(errs, between...)
	if hostname != "" {
		at := path.Child("hostname")
		errs = append(errs, validate.Subdomain(hostname, at)...)
		if netutils.ParseIPSloppy(hostname) != nil {
			errs = append(errs, field.Invalid(at, hostname, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}
