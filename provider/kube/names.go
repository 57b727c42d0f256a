package kube

import (
	"strings"
	"unicode"
)

// snake returns the Terraform name of a JSON name: podIP becomes pod_ip, clusterIPs cluster_ips,
// setHostnameAsFQDN set_hostname_as_fqdn. A run of capitals is one word; its last letter starts the next word
// when a lower-case letter follows, unless that is the plural s at the end.
func snake(name string) string {
	letters := []rune(name)
	var out strings.Builder
	for i, r := range letters {
		if !unicode.IsUpper(r) {
			if r == '-' || r == '.' {
				r = '_'
			}
			out.WriteRune(r)
			continue
		}
		if i > 0 && (!unicode.IsUpper(letters[i-1]) || startsWord(letters, i)) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// startsWord reports whether the capital at i, which follows a capital, begins a new word.
func startsWord(letters []rune, i int) bool {
	if i+1 >= len(letters) || unicode.IsUpper(letters[i+1]) {
		return false
	}
	pluralS := letters[i+1] == 's' && (i+2 == len(letters) || unicode.IsUpper(letters[i+2]))
	return !pluralS
}
