package container

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// defaultCapabilities are those that a container has unless it says otherwise.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
	"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware",
	"/sys/devices/virtual/powercap",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

func securityContext(c *Config) *corev1.SecurityContext {
	if c.Container.SecurityContext == nil {
		return &corev1.SecurityContext{}
	}
	return c.Container.SecurityContext
}

func podSecurity(c *Config) *corev1.PodSecurityContext {
	if c.PodSecurity == nil {
		return &corev1.PodSecurityContext{}
	}
	return c.PodSecurity
}

func isTrue(b *bool) bool { return b != nil && *b }

func privileged(c *Config) bool { return isTrue(securityContext(c).Privileged) }

func readOnlyRoot(c *Config) bool { return isTrue(securityContext(c).ReadOnlyRootFilesystem) }

// firstOf is the container's setting, or else the pod's.
func firstOf[T any](own, pod *T) *T {
	if own != nil {
		return own
	}
	return pod
}

// secure applies the security context to all but the user.
func (r *Runtime) secure(s *specs.Spec, c *Config) error {
	sc, pod := securityContext(c), podSecurity(c)
	caps, err := capabilities(sc)
	if err != nil {
		return err
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	s.Process.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	s.Linux.RootfsPropagation = rootfsPropagation(c)
	if isTrue(sc.Privileged) {
		devices, err := oci.HostDevices()
		if err != nil {
			return fmt.Errorf("cannot list the host's devices: %w", err)
		}
		s.Linux.Devices = devices
		return nil
	}
	if sc.ProcMount == nil || *sc.ProcMount != corev1.UnmaskedProcMount {
		s.Linux.MaskedPaths = slices.Clone(maskedPaths)
		s.Linux.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
	if p := firstOf(sc.AppArmorProfile, pod.AppArmorProfile); p != nil && p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil {
		s.Process.ApparmorProfile = *p.LocalhostProfile
	}
	if l := firstOf(sc.SELinuxOptions, pod.SELinuxOptions); l != nil && l.User != "" && l.Role != "" && l.Type != "" {
		s.Process.SelinuxLabel = strings.Join([]string{l.User, l.Role, l.Type, l.Level}, ":")
	}
	s.Linux.Seccomp, err = r.seccomp(s, firstOf(sc.SeccompProfile, pod.SeccompProfile))
	return err
}

func (r *Runtime) seccomp(s *specs.Spec, p *corev1.SeccompProfile) (*specs.LinuxSeccomp, error) {
	if p == nil || p.Type == corev1.SeccompProfileTypeUnconfined || !r.host.seccomp {
		return nil, nil
	}
	if p.Type == corev1.SeccompProfileTypeRuntimeDefault {
		return seccomp.DefaultProfile(s), nil
	}
	if p.LocalhostProfile == nil || !filepath.IsLocal(*p.LocalhostProfile) {
		return nil, configErrorf("cannot load seccomp profile: its name is missing or leaves the profile directory")
	}
	data, err := os.ReadFile(filepath.Join(r.opt.SeccompDir, *p.LocalhostProfile))
	if err != nil {
		return nil, configErrorf("cannot load seccomp profile: %w", err)
	}
	var profile specs.LinuxSeccomp
	if err := json.Unmarshal(data, &profile); err != nil {
		return nil, configErrorf("cannot load seccomp profile %s: %w", *p.LocalhostProfile, err)
	}
	return &profile, nil
}

// capabilities are the default ones with the container's changes. What this host can not give is left out.
func capabilities(sc *corev1.SecurityContext) ([]string, error) {
	have, err := cap.Current()
	if err != nil {
		return nil, fmt.Errorf("cannot read own capabilities: %w", err)
	}
	if isTrue(sc.Privileged) {
		return have, nil
	}
	set := slices.Clone(defaultCapabilities)
	if sc.Capabilities != nil {
		add, drop := capNames(sc.Capabilities.Add), capNames(sc.Capabilities.Drop)
		if slices.Contains(add, "CAP_ALL") {
			set = slices.Clone(have)
		}
		if slices.Contains(drop, "CAP_ALL") {
			set = nil
		}
		set = append(set, add...)
		set = slices.DeleteFunc(set, func(name string) bool {
			return name == "CAP_ALL" || slices.Contains(drop, name)
		})
	}
	slices.Sort(set)
	set = slices.Compact(set)
	return slices.DeleteFunc(set, func(name string) bool { return !slices.Contains(have, name) }), nil
}

func capNames(caps []corev1.Capability) []string {
	names := make([]string, len(caps))
	for i, c := range caps {
		names[i] = strings.ToUpper(string(c))
		if !strings.HasPrefix(names[i], "CAP_") {
			names[i] = "CAP_" + names[i]
		}
	}
	return names
}

// user resolves whom the process runs as, and refuses root where the pod forbids it.
func (r *Runtime) user(ctx context.Context, c *Config) (specs.User, error) {
	sc, pod := securityContext(c), podSecurity(c)
	uid, gid := firstOf(sc.RunAsUser, pod.RunAsUser), firstOf(sc.RunAsGroup, pod.RunAsGroup)
	spec := c.Image.Config.User
	if uid != nil {
		spec = strconv.FormatInt(*uid, 10)
	}
	if isTrue(firstOf(sc.RunAsNonRoot, pod.RunAsNonRoot)) {
		if err := checkNonRoot(c, uid, spec); err != nil {
			return specs.User{}, err
		}
	}
	db, err := r.usersOf(ctx, c.Image.ChainID, c.ID)
	if err != nil {
		return specs.User{}, err
	}
	id, err := db.resolve(spec)
	if err != nil {
		return specs.User{}, &ConfigError{err}
	}
	u := specs.User{UID: id.uid, GID: id.gid}
	if gid != nil {
		u.GID = uint32(*gid)
	}
	u.AdditionalGids = append(u.AdditionalGids, u.GID)
	if p := pod.SupplementalGroupsPolicy; p == nil || *p != corev1.SupplementalGroupsPolicyStrict {
		u.AdditionalGids = append(u.AdditionalGids, id.extra...)
	}
	for _, g := range pod.SupplementalGroups {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
	}
	if pod.FSGroup != nil {
		u.AdditionalGids = append(u.AdditionalGids, uint32(*pod.FSGroup))
	}
	slices.Sort(u.AdditionalGids)
	u.AdditionalGids = slices.Compact(u.AdditionalGids)
	return u, nil
}

func checkNonRoot(c *Config, uid *int64, spec string) error {
	name, _, _ := strings.Cut(spec, ":")
	who := fmt.Sprintf("(pod: %q, container: %s)", c.PodName+"_"+c.PodNamespace+"("+string(c.PodUID)+")", c.Container.Name)
	n, err := strconv.ParseInt(name, 10, 64)
	switch {
	case uid != nil && *uid == 0:
		return configErrorf("container's runAsUser breaks non-root policy %s", who)
	case uid != nil:
		return nil
	case name == "" || err == nil && n == 0:
		return configErrorf("container has runAsNonRoot and image will run as root %s", who)
	case err != nil:
		return configErrorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", name, who)
	}
	return nil
}
