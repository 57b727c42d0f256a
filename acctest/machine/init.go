package machine

import (
	"context"
	"fmt"
	"io/fs"
)

// initSystem is what boots a machine.
type initSystem struct {
	program string // that nspawn starts; -b is for systemd
	// files configure the network, the init system's way, and whatever else it starts.
	files  func(*Machine) []file
	enable string // shell text that has all that started
	reboot string // shell text that begins a shutdown in order
}

// file is one that a machine is prepared with; its path is relative to the root.
type file struct {
	path, content string
	mode          fs.FileMode
}

// writableCgroups is shell text that makes the v1 controllers writable inside, as they are on a machine of its own.
const writableCgroups = `for c in /sys/fs/cgroup/*; do mountpoint -q "$c" && mount -o remount,rw,bind "$c"; done; true`

var systemd = initSystem{
	program: "-b",
	files: func(m *Machine) []file {
		return []file{
			{"etc/systemd/network/10-host0.network", fmt.Sprintf("[Match]\nName=host0 e*\n[Network]\nAddress=%s/%d\nGateway=%s\n", m.Address, m.net.Prefix.Bits(), m.net.Gateway()), 0o644},
			{"etc/systemd/system/acctest-cgroups.service", cgroupUnit, 0o644},
		}
	},
	enable: `systemctl -q enable systemd-networkd ssh acctest-cgroups
systemctl -q mask console-getty systemd-resolved`,
	reboot: "systemctl --no-block reboot",
}

const cgroupUnit = `[Unit]
Description=Make cgroup controllers writable
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '` + writableCgroups + `'
[Install]
WantedBy=sysinit.target
`

// openRC has services of its own in place of Debian's, which need hardware that a container has not.
var openRC = initSystem{
	program: "/sbin/init",
	files: func(m *Machine) []file {
		return []file{
			{"etc/init.d/acctest", fmt.Sprintf(openRCMachine, m.Address, m.net.Prefix.Bits(), m.net.Gateway()), 0o755},
			{"etc/init.d/acctest-sshd", openRCSSH, 0o755},
			{"etc/inittab", "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\nl0:0:wait:/etc/init.d/rc 0\nl2:2:wait:/etc/init.d/rc 2\nl6:6:wait:/etc/init.d/rc 6\n", 0o644},
		}
	},
	enable: `rm -f /etc/runlevels/*/*
rc-update -q add acctest sysinit
rc-update -q add acctest-sshd default`,
	reboot: "init 6",
}

const openRCMachine = `#!/sbin/openrc-run
description="What a container has to do to be a machine"
depend() {
	provide net localmount
}
start() {
	hostname -F /etc/hostname
	umount /sys # OpenRC mounts another over that of nspawn, which has the cgroups
	` + writableCgroups + `
	ip link set lo up
	ip addr add %s/%d dev host0 && ip link set host0 up && ip route add default via %s
}
`

const openRCSSH = `#!/sbin/openrc-run
command=/usr/sbin/sshd
pidfile=/run/sshd.pid
depend() {
	need net
}
start_pre() {
	checkpath -d -m 0755 /run/sshd
}
`

// openRCLayer has OpenRC and its init in place of systemd's, which stays installed: it takes some seconds.
func openRCLayer(ctx context.Context, tree string) (string, error) {
	return layer(ctx, tree, "openrc", "apt-get", "-qy", "--no-install-recommends", "install", "openrc", "sysvinit-core", "systemd-sysv-")
}

// Reboot lets the machine shut down in order and start again, and returns when SSH answers after that.
func (m *Machine) Reboot(ctx context.Context) error {
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	before, err := m.Run(ctx, bootID)
	if err != nil {
		return err
	}
	// Not waited for: it takes the session with it.
	if _, err := m.Run(ctx, m.init.reboot); err != nil {
		return err
	}
	if m.container { // nspawn ends, and leaves the start to who started it
		slow, cancel := context.WithTimeout(ctx, m.slow)
		defer cancel()
		select {
		case <-m.exited:
		case <-slow.Done():
			return fmt.Errorf("cannot reboot machine %s: it does not shut down; its console: %s", m.Name, m.console())
		}
		m.PowerCut()
		return m.Boot(ctx)
	}
	return m.await(ctx, func(ctx context.Context) error {
		after, err := m.Run(ctx, bootID)
		if err == nil && after == before {
			err = fmt.Errorf("machine %s has not shut down yet", m.Name)
		}
		return err
	})
}

// StartOpenRC is Start of a machine with OpenRC instead of systemd, as Alpine and Gentoo have it.
func (f *Fleet) StartOpenRC(ctx context.Context, name string) (*Machine, error) {
	layer, err := openRCLayer(ctx, f.Tree)
	if err != nil {
		return nil, err
	}
	m := f.machine(name, layer+":"+f.Tree)
	m.init, m.power, m.container, m.slow = openRC, m.nspawn, true, bootTimeout
	if err := m.prepare(); err != nil {
		return nil, err
	}
	return m, m.Boot(ctx)
}
