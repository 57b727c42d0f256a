package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/container"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// validateHostPorts checks that ports on the host's network are the container's own. A template may leave them to the pod's defaults.
func validateHostPorts(s *corev1.PodSpec, pod bool, path *field.Path) field.ErrorList {
	if !s.HostNetwork {
		return nil
	}
	var errs field.ErrorList
	for i := range s.Containers {
		for j, p := range s.Containers[i].Ports {
			if (pod || p.HostPort != 0) && p.HostPort != p.ContainerPort {
				errs = append(errs, field.Invalid(path.Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

// validateHostUsers refuses what a pod with a user namespace of its own can not share with the host.
func validateHostUsers(s *corev1.PodSpec, e Exempt, path *field.Path) field.ErrorList {
	if ptr.Deref(s.HostUsers, true) {
		return nil
	}
	const why = "when `hostUsers` is false"
	var errs field.ErrorList
	if s.HostNetwork && !e.hostNetworkUsers {
		errs = append(errs, field.Forbidden(path.Child("hostNetwork"), why))
	}
	if s.HostPID {
		errs = append(errs, field.Forbidden(path.Child("HostPID"), why))
	}
	if s.HostIPC {
		errs = append(errs, field.Forbidden(path.Child("HostIPC"), why))
	}
	if !e.deviceUsers {
		container.Each(s, path, func(c *corev1.Container, at *field.Path) {
			if len(c.VolumeDevices) > 0 {
				errs = append(errs, field.Forbidden(at.Child("volumeDevices"), why))
			}
		})
	}
	return errs
}

// maxHostname is the longest name that Linux gives a host.
const maxHostname = 64

func validateHostnameOverride(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if s.HostnameOverride == nil {
		return nil
	}
	var errs field.ErrorList
	if ptr.Deref(s.SetHostnameAsFQDN, false) {
		errs = append(errs, field.Forbidden(path, "may not be specified when setHostnameAsFQDN is true"))
	}
	if s.HostNetwork {
		errs = append(errs, field.Forbidden(path, "may not be specified when hostNetwork is true"))
	}
	if len(*s.HostnameOverride) > maxHostname {
		errs = append(errs, field.TooLong(path, "", maxHostname))
	}
	return append(errs, validate.Subdomain(*s.HostnameOverride, path)...)
}

func validateHostAliases(aliases []corev1.HostAlias, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, alias := range aliases {
		at := path.Index(i)
		errs = append(errs, validate.IP(alias.IP, nil, at.Child("ip"))...)
		for j, name := range alias.Hostnames {
			errs = append(errs, validate.Subdomain(name, at.Child("hostnames").Index(j))...)
		}
	}
	return errs
}

// Limits of a pod's resolver configuration.
const (
	maxNameservers    = 3
	maxSearches       = 32
	maxSearchesLength = 2048
)

func validateDNS(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	c := s.DNSConfig
	if s.DNSPolicy == corev1.DNSNone {
		if c == nil {
			return field.ErrorList{field.Required(path, "must provide `dnsConfig` when `dnsPolicy` is None")}
		}
		if len(c.Nameservers) == 0 {
			return field.ErrorList{field.Required(path.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")}
		}
	}
	if c == nil {
		return nil
	}
	var errs field.ErrorList
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(path.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers)))
	}
	for i, ns := range c.Nameservers {
		errs = append(errs, validate.IP(ns, nil, path.Child("nameservers").Index(i))...)
	}
	if len(c.Searches) > maxSearches {
		errs = append(errs, field.Invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearches)))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchesLength {
		errs = append(errs, field.Invalid(path.Child("searches"), c.Searches,
			fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchesLength)))
	}
	for i, search := range c.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			errs = append(errs, validate.Each(path.Child("searches").Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(search))...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}
