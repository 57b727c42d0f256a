package acctest

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// testDestroy wants every machine to be as it was.
func (s *standing) testDestroy(t *testing.T) {
	out, err := s.Destroy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	says(t, out, "Destroy complete! Resources: 9 destroyed.")
	inState(t, s.Workspace)
	for _, m := range s.machines() {
		bare(t, m, s.bare[m.Name])
	}
	for uid, node := range s.pods {
		if left := command(t, s.control, "find /sys/fs/cgroup -name '*"+uid+"*'"); left != "" {
			t.Errorf("control groups of a pod of %s are left:\n%s", node, left)
		}
	}
}

// listingScript prints one line for everything that an installation could leave: processes, units, packages, mounts,
// links, addresses, routes, rules, users, settings and files. What changes on a machine that is only
// logged in to is left out, and so are the link-local addresses of cards, which come a second after a boot, and
// control groups: version 1 has no namespaces of them, so that machines see each other's.
const listingScript = `
ps -eo args= --no-headers --ppid 2 -N | grep -vE '^(sshd|ps |sh |bash|-bash|grep|sed|sort|find|/bin/sh|\(sd-pam\)|/lib/systemd/systemd(-hostnamed|-timedated| --user)|/usr/lib/systemd/systemd-)' | sed 's/^/process /'
[ ! -d /run/systemd/system ] || systemctl list-unit-files --no-legend --type=service,socket,timer,mount,target | awk '{print "unit-file", $1, $2}'
[ ! -d /run/systemd/system ] || systemctl list-units --no-legend --plain --all --type=service,mount,scope | awk '$1 !~ /^(session-|user-|user@|run-user|systemd-hostnamed|dpkg-|apt-|man-db|e2scrub|fstrim|logrotate|systemd-tmpfiles|modprobe@)/ {print "unit", $1}'
dpkg-query -W -f 'package ${Package} ${Status}\n'
awk '$5 !~ "^/run/user" {print "mount", $5}' /proc/self/mountinfo
ip -o link | awk '{sub("@.*", "", $2); print "link", $2}'
ip -o addr | awk '$4 !~ "^fe80:" {print "address", $2, $4}'
ip route show table all | grep -v 'fe80::.* dev [he]' | sed 's/^/route /'
ip rule | sed 's/^/rule /'
ip neigh show nud permanent | sed 's/^/neighbour /'
sed 's/^/user /' /etc/passwd /etc/group
for f in net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.all.route_localnet net.ipv4.conf.all.send_redirects; do echo "setting $f $(cat /proc/sys/$(echo $f | tr . /))"; done
find / /run /var/lib/containerd /dev/shm -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /var/tmp -o -path /var/log/journal -o -path '/run/systemd/*' -o -path '/run/user/*' -o -path '/run/sudo/*' -o -path '/run/udev/*' \
  -o -path /run/log -o -path '/var/lib/apt/*' -o -path '/var/cache/*' -o -path '/var/lib/dpkg/*' -o -path '/var/lib/systemd/*' -o -path '/run/dbus*' -o -path '/var/log/apt/*' -o -path '/root/.*' \) -prune -o -printf 'file %p %y\n' 2>/dev/null
true`

// listing says what is on a machine.
func listing(t *testing.T, m *machine.Machine) []string {
	t.Helper()
	// A machine that has just booted still starts things of its own.
	command(t, m, "systemctl is-system-running --wait >/dev/null || true")
	lines := strings.Split(command(t, m, listingScript), "\n")
	tables, err := m.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(tables) {
		lines = append(lines, strings.TrimSpace(line))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// bare wants a machine to have what it had before, no more than what is allowed, and no less.
func bare(t *testing.T, m *machine.Machine, before []string, allowed ...*regexp.Regexp) {
	t.Helper()
	after := listing(t, m)
	for _, line := range after {
		matches := func(r *regexp.Regexp) bool { return r.MatchString(line) }
		if _, ok := slices.BinarySearch(before, line); !ok && !slices.ContainsFunc(allowed, matches) {
			t.Errorf("left on %s: %s", m.Name, line)
		}
	}
	for _, line := range before {
		if _, ok := slices.BinarySearch(after, line); !ok {
			t.Errorf("gone from %s: %s", m.Name, line)
		}
	}
}
