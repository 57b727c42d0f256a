package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// LeftoverError is a removal that left something. Running it again helps when what held it is gone.
type LeftoverError struct {
	Host string
	Left []string // such as "mount /var/lib/fairlead/…", "process 12 fairlead"
	Err  error    // of the clean-up; nil when it said nothing
}

func (e *LeftoverError) Error() string {
	msg := fmt.Sprintf("cannot remove everything from %s", e.Host)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	if len(e.Left) > 0 {
		msg += "\nStill there: " + strings.Join(e.Left, "; ")
	}
	return msg
}

func (e *LeftoverError) Unwrap() error { return e.Err }

// Uninstall removes processes, mounts, links, rules and files of fairlead, and the packages that it installed
// itself when purge says so; nothing else. It is idempotent. What cannot be removed is in a *LeftoverError; then
// the record of what we installed stays, so that a second run knows it.
func Uninstall(ctx context.Context, c ssh.Conn, purge bool, p Progress) error {
	return Locked(ctx, c, "remove", func(ctx context.Context) error { return uninstall(ctx, c, purge, p) })
}

func uninstall(ctx context.Context, c ssh.Conn, purge bool, p Progress) error {
	t := newTarget(c, p)
	err := t.run(ctx, phase{name: "look at the host", timeout: checkTimeout, do: t.lookAsRoot})
	if err != nil {
		return err
	}
	r := &removal{target: t, purge: purge}
	if err := t.run(ctx, r.readRecord(), r.stopServices(), r.cleanUp(), r.stopContainerd(), r.unmount()); err != nil {
		return errors.Join(err, r.cleanErr)
	}
	left, err := r.leftovers(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return &LeftoverError{Host: c.Host(), Left: left, Err: r.cleanErr}
	}
	return t.run(ctx, r.purgePackages(), r.removeFiles())
}

// lockedCleanup runs the host's own clean-up under our lock.
const lockedCleanup = config.LockedVariable + "=1 " + config.BinaryPath + " cleanup"

// removal is the work of Uninstall.
type removal struct {
	*target
	purge    bool
	packages []string // that we installed
	folders  []string // that came with us
	runtime  []string // that came with containerd, and go with it
	content  []string // that were there and empty
	emptied  []string // the same of containerd's
	started  bool     // containerd was started by us
	cleanErr error    // of `fairlead cleanup`
}

func (r *removal) readRecord() phase {
	return phase{name: "read the record", timeout: checkTimeout, do: func(ctx context.Context) (err error) {
		if r.packages, err = host.Recorded(ctx, r.conn, "package"); err != nil {
			return err
		}
		if r.folders, err = host.Recorded(ctx, r.conn, "folder"); err != nil {
			return err
		}
		if r.runtime, err = host.Recorded(ctx, r.conn, "runtime-folder"); err != nil {
			return err
		}
		if r.content, err = host.Recorded(ctx, r.conn, "content"); err != nil {
			return err
		}
		if r.emptied, err = host.Recorded(ctx, r.conn, "runtime-content"); err != nil {
			return err
		}
		services, err := host.Recorded(ctx, r.conn, "service")
		r.started = slices.Contains(services, "containerd")
		return err
	}}
}

func (r *removal) stopServices() phase {
	return phase{name: "stop the service", timeout: 2*host.StopTimeout + 2*host.StartTimeout, do: func(ctx context.Context) error {
		return errors.Join(r.services.Remove(ctx, serverService), r.services.Remove(ctx, agentService))
	}}
}

// cleanUp has the binary remove what its agent made. Its failure is kept: what it left is looked for afterwards.
func (r *removal) cleanUp() phase {
	return phase{
		name: "remove pods, links and rules", timeout: cleanupTimeout + checkTimeout,
		done: func(context.Context) (bool, error) { return r.installed.SHA256 == "", nil },
		do: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeoutCause(ctx, cleanupTimeout, fmt.Errorf("no end after %v", cleanupTimeout))
			defer cancel()
			if _, err := r.conn.Run(ctx, ssh.Command{Line: lockedCleanup, Sudo: true}); err != nil {
				r.cleanErr = err
			}
			return nil
		},
	}
}

// stopContainerd stops what we started, as far as the record goes. What a package started stays until purge.
func (r *removal) stopContainerd() phase {
	return phase{
		name: "stop containerd", timeout: host.StopTimeout + host.StartTimeout,
		do: func(ctx context.Context) error { return r.services.ReleaseContainerd(ctx, r.started) },
	}
}

// mountsScript prints our mounts, the innermost first. The data folder and those directly in it may be disks that
// the host's owner gave us: we mount nothing there ourselves.
const mountsScript = `awk '$5 ~ "^(` + dataDir + `/[^/]+/|` + config.RunDir + `(/|$))" { print $5 }' /proc/self/mountinfo | sort -r`

// unmount takes away mounts below our folders, so that removing the folders removes nothing of others.
func (r *removal) unmount() phase {
	return phase{name: "unmount volumes", timeout: checkTimeout, do: func(ctx context.Context) error {
		_, err := r.conn.Run(ctx, ssh.Command{Line: mountsScript + ` | while IFS= read -r m; do umount "$(printf '%b' "$m")" 2>/dev/null || umount -l "$(printf '%b' "$m")" || true; done`, Sudo: true})
		return err
	}}
}

// leftoverScript prints what is ours and is still there, besides files. Processes of other PID namespaces are those
// of machines in containers on this host, which may be members of clusters of their own.
const leftoverScript = mountsScript + ` | sed 's/^/mount /'
own=$(readlink /proc/self/ns/pid)
for p in /proc/[0-9]*; do
  [ "$(readlink "$p/ns/pid" 2>/dev/null)" = "$own" ] || continue
  case "$(readlink "$p/exe" 2>/dev/null)" in
  ` + config.BinaryPath + `*) echo "process ${p#/proc/} fairlead" ;;
  */containerd-shim*) tr '\0' ' ' <"$p/cmdline" | grep -q -- '-namespace ` + config.ContainerdNamespace + ` ' && echo "process ${p#/proc/} containerd-shim" ;;
  esac
done
for l in /sys/class/net/fairlead*; do [ -e "$l" ] && echo "link ${l##*/}"; done
if command -v nft >/dev/null 2>&1; then nft list tables 2>/dev/null | grep -E ' fairlead(-[a-z]+)?$'; fi
true`

func (r *removal) leftovers(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out, err := r.conn.Run(ctx, ssh.Command{Line: leftoverScript, Sudo: true})
	if err != nil {
		return nil, err
	}
	var left []string
	for l := range strings.Lines(string(out.Stdout)) {
		left = append(left, strings.TrimSpace(l))
	}
	return left, nil
}

func (r *removal) purgePackages() phase {
	return phase{
		name: "remove packages", timeout: host.InstallTimeout,
		done: func(context.Context) (bool, error) { return !r.purge || len(r.packages) == 0, nil },
		do: func(ctx context.Context) error {
			pm := host.Packages(r.conn, r.facts)
			if pm == nil {
				return errors.New("the package manager that installed them is gone")
			}
			if err := pm.Remove(ctx, r.packages); err != nil {
				return err
			}
			if slices.Contains(r.packages, "containerd") {
				r.folders = append(r.folders, r.runtime...)
				r.content = append(r.content, r.emptied...)
			}
			return nil
		},
	}
}

// removeDataScript removes the data folder. Disks that are mounted there for our data are emptied and stay mounted;
// what else is mounted in it is not ours, and is left alone.
const removeDataScript = `set --
for m in $(awk '$5 ~ "^` + dataDir + `(/[^/]+)?$" { print $5 }' /proc/self/mountinfo); do
  m=$(printf '%b' "$m")
  case $m in
  ` + dataDir + `|` + config.DefaultServerDir + `|` + config.DefaultAgentDir + `) set -- "$@" ! -path "$m/lost+found" ! -path "$m/lost+found/*" ;;
  *) set -- "$@" ! -path "$m" ! -path "$m/*" ;;
  esac
done
if [ $# = 0 ]; then rm -rf ` + dataDir + `; exit; fi
find ` + dataDir + ` -mindepth 1 "$@" -delete 2>/dev/null || true # but for mount points
left=$(find ` + dataDir + ` "$@" ! -type d)
[ -z "$left" ] || { echo "cannot remove $left" >&2; exit 1; }`

// removeFiles removes the data folder, with the record in it, last.
func (r *removal) removeFiles() phase {
	folders := []string{etcDir, config.RunDir, logDir}
	return phase{name: "remove files", timeout: checkTimeout + uploadTimeout, do: func(ctx context.Context) error {
		line := "set -e\nrm -f " + config.BinaryPath + " " + previousBinary + " /usr/local/bin/.fairlead.fairlead-*\nrm -rf"
		for _, f := range append(folders, r.folders...) {
			line += " " + ssh.Quote(f)
		}
		for _, f := range r.content {
			line += "\nfind " + ssh.Quote(f) + " -xdev -mindepth 1 -delete"
		}
		_, err := r.conn.Run(ctx, ssh.Command{Line: line + "\n" + removeDataScript, Sudo: true})
		return err
	}}
}
