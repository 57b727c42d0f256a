// Package defaults writes what the API reference says of fields that a client left out. It writes only what changes: an object
// whose defaults are set may be shared.
package defaults

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// PullPolicy is Always for the tag "latest", also when it is implied, and IfNotPresent for all else.
func PullPolicy(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent // validation refuses the image or the runtime will
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// FieldRef names the version of the pod's field; f may be nil.
func FieldRef(f *corev1.ObjectFieldSelector) {
	if f != nil && f.APIVersion == "" {
		f.APIVersion = "v1"
	}
}

// Value writes a value where there is the zero.
func Value[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Pointer writes a value where there is none.
func Pointer[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
