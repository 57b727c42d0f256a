package validate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Protocols are those that ports can be of.
var Protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

// Protocol wants one of Protocols.
func Protocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	return OneOf(p, path, Protocols...)
}

// IP accepts an address in its one proper form, or one of those that are there already.
func IP(ip string, old []string, path *field.Path) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, ip, true, old)
}

// PortRef accepts a port's number or its name.
func PortRef(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return Each(path, p.IntValue(), validation.IsValidPortNum(p.IntValue()))
	}
	return Each(path, p.StrVal, validation.IsValidPortName(p.StrVal))
}
