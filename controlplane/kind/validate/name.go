package validate

import (
	"fmt"
	"strings"

	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// SignerName checks DOMAIN/PATH, where the domain has two labels at least. Of several bad labels it names the first.
func SignerName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	domain, rest, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(rest, "/") {
		return field.ErrorList{field.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(path, domain, validation.DNS1123SubdomainMaxLength))
	}
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if messages := validation.IsDNS1123Label(label); len(messages) > 0 {
			for _, m := range messages {
				errs = append(errs, field.Invalid(path, domain, fmt.Sprintf("validating label %q: %s", label, m)))
			}
			break
		}
	}
	if len(labels) < 2 {
		errs = append(errs, field.Invalid(path, domain, "should be a domain with at least two segments separated by dots"))
	}
	for _, label := range strings.Split(rest, ".") {
		if messages := validation.IsDNS1123Subdomain(label); len(messages) > 0 {
			for _, m := range messages {
				errs = append(errs, field.Invalid(path, rest, fmt.Sprintf("validating label %q: %s", label, m)))
			}
			break
		}
	}
	// room for a domain, a label and a name after it
	const longest = 2*validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 2
	if len(name) > longest {
		errs = append(errs, field.TooLong(path, name, longest))
	}
	return errs
}

// DNSLabel wants one label of a DNS name.
func DNSLabel(value string, path *field.Path) field.ErrorList {
	return Each(path, value, validation.IsDNS1123Label(value))
}

// Subdomain wants a DNS name, as most objects have.
func Subdomain(value string, path *field.Path) field.ErrorList {
	return Each(path, value, validation.IsDNS1123Subdomain(value))
}

// QualifiedName wants a name that may have a domain and a slash before it.
func QualifiedName(value string, path *field.Path) field.ErrorList {
	return Each(path, value, validation.IsQualifiedName(value))
}

// PathSegmentName is the rule for RBAC names: what can be one segment of a URL, such as "system:node".
func PathSegmentName(name string, prefix bool) []string {
	if prefix {
		return pathvalidation.IsValidPathSegmentPrefix(name)
	}
	return pathvalidation.IsValidPathSegmentName(name)
}

// Selector holds a selector to all rules.
func Selector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
}

// StoredSelector is Selector for one that may keep values that no label can have.
func StoredSelector(s *metav1.LabelSelector, anyValue bool, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: anyValue}, path)
}

// LabelValues wants each value to be one that a label can have.
func LabelValues(values []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range values {
		errs = append(errs, Each(path.Index(i), v, validation.IsValidLabelValue(v))...)
	}
	return errs
}
