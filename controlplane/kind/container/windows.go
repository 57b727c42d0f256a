package container

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// Bounds of what Windows knows a container by.
const (
	maxCredentialSpec = 64 * 1024
	maxUserDomain     = 256 // is too long already
	maxUserName       = 104
)

// ValidateWindowsOptions checks what only Windows knows of a security context.
func ValidateWindowsOptions(o *corev1.WindowsSecurityContextOptions, path *field.Path) field.ErrorList {
	if o == nil {
		return nil
	}
	var errs field.ErrorList
	if name := o.GMSACredentialSpecName; name != nil {
		errs = append(errs, validate.Subdomain(*name, path.Child("gmsaCredentialSpecName"))...)
	}
	if spec := o.GMSACredentialSpec; spec != nil {
		at := path.Child("gmsaCredentialSpec")
		if *spec == "" {
			errs = append(errs, field.Invalid(at, *spec, "gmsaCredentialSpec cannot be an empty string"))
		} else if len(*spec) > maxCredentialSpec {
			errs = append(errs, field.Invalid(at, *spec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxCredentialSpec/1024)))
		}
	}
	if o.RunAsUserName != nil {
		for _, message := range windowsUser(*o.RunAsUserName) {
			errs = append(errs, field.Invalid(path.Child("runAsUserName"), *o.RunAsUserName, "runAsUserName"+message))
		}
	}
	return errs
}

// What users and their domains are called in Windows.
var (
	controlCharacters = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSName       = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	windowsDomain     = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
)

// windowsUser returns what is wrong with USER or DOMAIN\USER.
func windowsUser(name string) []string {
	switch {
	case name == "":
		return []string{" cannot be an empty string"}
	case controlCharacters.MatchString(name):
		return []string{" cannot contain control characters"}
	case strings.Count(name, `\`) > 1:
		return []string{" cannot contain more than one backslash"}
	}
	var messages []string
	domain, user, ok := strings.Cut(name, `\`)
	if !ok {
		domain, user = "", name
	}
	if len(domain) >= maxUserDomain {
		messages = append(messages, fmt.Sprintf("'s Domain length must be under %d characters", maxUserDomain))
	}
	if ok && !netBIOSName.MatchString(domain) && !windowsDomain.MatchString(domain) {
		messages = append(messages, "'s Domain doesn't match the NetBios nor the DNS format")
	}
	if user == "" {
		messages = append(messages, "'s User cannot be empty")
	} else if len(user) > maxUserName {
		messages = append(messages, fmt.Sprintf("'s User length must not be longer than %d characters", maxUserName))
	}
	if user != "" && strings.Trim(user, ". ") == "" {
		messages = append(messages, "'s User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		messages = append(messages, `'s User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return messages
}
