//go:build !linux

package residency

// Release does nothing: servers and agents run on Linux only.
func Release() error { return nil }
