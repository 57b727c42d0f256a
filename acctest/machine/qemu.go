package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// kernelPackage is Debian's kernel for virtual machines, with the modules that a cluster needs: overlay, bridge,
// veth, vxlan, nf_tables and conntrack.
const kernelPackage = "linux-image-cloud-amd64"

// kernelLayer has a kernel installed: boot/vmlinuz-*, boot/initrd.img-* and its modules; and the container runtime, whose
// installation takes minutes with an emulated processor: the virtual machine is the host that has one already. It takes
// about half a minute.
func kernelLayer(ctx context.Context, tree string) (string, error) {
	return layer(ctx, tree, "kernel-runtime", append([]string{"apt-get", "-qy", "--no-install-recommends", "install", kernelPackage}, cached...)...)
}

const qemuProgram = "qemu-system-x86_64"

// A virtual machine: memory in MiB, as much as a small rented server has, and processors; and its disk, of which
// only what is written takes room.
const (
	vmMemory = 2048
	vmCPUs   = 2
	diskSize = "8G"
)

// vmBootTimeout covers a boot with an emulated processor and both cores of a small CI machine busy: 50 s when quiet.
const vmBootTimeout = 5 * time.Minute

// kernelArgs keep the console on the serial port, where it is logged, and leave out work that an emulated processor
// would be slow at and that no test is about.
const kernelArgs = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off"

// StartVM makes and boots a virtual machine, and returns when SSH answers. It has what the fleet's other machines
// have, a container runtime that is installed already, and a kernel of its own: Debian's, with cgroup v2 and a boot
// that starts from nothing. It is emulated by QEMU, needs no hardware help, and is about ten times slower than the host.
func (f *Fleet) StartVM(ctx context.Context, name string) (*Machine, error) {
	layer, err := kernelLayer(ctx, f.Tree)
	if err != nil {
		return nil, err
	}
	m := f.machine(name, layer+":"+f.Tree)
	m.power, m.slow = m.qemu, vmBootTimeout
	if err := m.prepare(); err != nil {
		return nil, err
	}
	if err := m.makeDisk(ctx); err != nil {
		return nil, err
	}
	return m, m.Boot(ctx)
}

// makeDisk turns the prepared root into a disk with a file system, and the kernel and initial RAM disk beside it.
func (m *Machine) makeDisk(ctx context.Context) error {
	layer, _, _ := strings.Cut(m.tree, ":")
	for _, name := range []string{"vmlinuz", "initrd.img"} {
		found, err := filepath.Glob(filepath.Join(layer, "boot", name+"-*"))
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("there are %d of boot/%s-*", len(found), name)
		}
		if err == nil {
			err = os.Symlink(found[0], m.path(name))
		}
		if err != nil {
			return fmt.Errorf("cannot find the kernel of machine %s: %w", m.Name, err)
		}
	}
	if err := m.mount(); err != nil {
		return err
	}
	defer m.unmount()
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-d", m.path("root"), m.path("vda"), diskSize).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot make the disk of machine %s: %w: %s", m.Name, err, tail(out))
	}
	return nil
}

// qemu plugs the machine into the network and makes the command that runs it.
func (m *Machine) qemu() (*exec.Cmd, error) {
	tap, err := m.plugTap()
	if err != nil {
		return nil, err
	}
	address := m.Address.As4()
	return exec.Command(qemuProgram, "-name", m.Name, "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(vmCPUs), "-m", strconv.Itoa(vmMemory),
		"-kernel", m.path("vmlinuz"), "-initrd", m.path("initrd.img"), "-append", kernelArgs,
		// What the machine has flushed is in this host's page cache, which outlives QEMU: a power cut loses as much
		// as a real one, and no test waits for the host's disk.
		"-drive", "file="+m.path("vda")+",format=raw,if=virtio,cache=unsafe",
		"-netdev", "tap,id=net,ifname="+tap+",script=no,downscript=no",
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net,mac=52:54:%02x:%02x:%02x:%02x", address[0], address[1], address[2], address[3]),
		"-device", "virtio-rng-pci", "-serial", "stdio"), nil
}

// plugTap makes the machine's cable: a tap on the network's bridge. PowerCut removes it.
func (m *Machine) plugTap() (string, error) {
	m.removeCable() // of a run that died
	attrs := netlink.NewLinkAttrs()
	attrs.Name = m.cable()
	bridge, err := netlink.LinkByName(m.net.Bridge)
	if err != nil {
		return "", fmt.Errorf("cannot plug in machine %s: %w", m.Name, err)
	}
	attrs.MasterIndex = bridge.Attrs().Index
	tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP}
	if err := netlink.LinkAdd(tap); err != nil {
		return "", fmt.Errorf("cannot plug in machine %s: %w", m.Name, err)
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		return "", fmt.Errorf("cannot plug in machine %s: %w", m.Name, err)
	}
	return attrs.Name, nil
}
