// Package version says which release this is.
package version

import "runtime/debug"

// Version is the release, set by the linker (-X); a build without it is "dev" with the commit when known.
var Version = ""

// KubernetesVersion is the Kubernetes release whose API libraries are built in: go.mod's k8s.io/api v0.37.2.
const KubernetesVersion = "v1.37.2"

// NodeSeparator stands between the Kubernetes version and the release in the version that a node reports.
const NodeSeparator = "+fairlead-"

// String returns the release.
func String() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "0.0.0-dev." + s.Value[:12]
			}
		}
	}
	return "0.0.0-dev"
}
