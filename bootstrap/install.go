package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// InstallServer makes the host a control plane, or brings it to this state; it returns when the API server is
// ready (and the node, when it runs pods). Run twice with the same input, the second changes nothing. What it
// returns besides an error is what is there; a *PreflightError or *LockedError means that nothing was changed.
func InstallServer(ctx context.Context, c ssh.Conn, cp ControlPlane, bin Binary, p Progress) (*Installed, error) {
	return lockedInstall(ctx, c, "install the control plane", func(ctx context.Context) (*Installed, error) {
		return installServer(ctx, c, cp, bin, p)
	})
}

func installServer(ctx context.Context, c ssh.Conn, cp ControlPlane, bin Binary, p Progress) (*Installed, error) {
	t := newTarget(c, p)
	if err := t.run(ctx, t.preflight(cp.Cluster, bin, Target{Role: RoleServer, Node: cp.Node, NoPods: !cp.Pods})); err != nil {
		return t.installed, err
	}
	cfg, err := serverConfig(cp, c, t.facts)
	if err != nil {
		return t.installed, err
	}
	text, err := config.Marshal(cfg)
	if err != nil {
		return t.installed, err
	}
	w := &work{target: t, role: RoleServer, bin: bin, owner: cp.Node.Owner, files: []file{
		{clusterFile, cp.Cluster.Name + "\n", 0o644},
		{config.ServerFile, string(text), 0o600},
	}}
	if err = w.provide(ctx); err == nil {
		err = t.run(ctx, w.containerd(cp.Pods), w.configuration(), w.service(), w.serverHealth(apiAddress(cfg.Listen)))
	}
	if err == nil && cp.Pods {
		err = w.nodeHealth(ctx, c, cfg.Node.NodeName)
	}
	if err == nil {
		err = w.run(ctx, w.mark(true))
	}
	return t.finish(ctx, err)
}

// finish inspects the host after the work; the work's error comes first.
func (t *target) finish(ctx context.Context, err error) (*Installed, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	in, ierr := inspect(ctx, t.conn)
	if ierr != nil {
		return t.installed, errors.Join(err, ierr)
	}
	return in, err
}

func serverConfig(cp ControlPlane, c ssh.Conn, f *host.Facts) (*config.Server, error) {
	address, err := nodeAddress(cp.Node, c, f)
	if err != nil {
		return nil, err
	}
	port := cp.APIPort
	if port == 0 {
		port = config.DefaultAPIPort
	}
	cfg := &config.Server{
		ClusterName: cp.Cluster.Name, DataDir: config.DefaultServerDir,
		Listen: ":" + strconv.Itoa(port), Advertise: address,
		CertificateNames: certificateNames(cp, c, f, address),
		PodCIDR:          cp.Cluster.PodCIDR, ServiceCIDR: cp.Cluster.ServiceCIDR, Domain: cp.Cluster.Domain, NodePorts: cp.Cluster.NodePorts,
		OIDC: cp.OIDC, Audit: cp.Audit,
	}
	if cp.Pods {
		cfg.Node = agentConfig(cp.Cluster, cp.Node, f, address)
	}
	return cfg, nil
}

// certificateNames are all names that the API server may be called by.
func certificateNames(cp ControlPlane, c ssh.Conn, f *host.Facts, address string) []string {
	var names []string
	seen := map[string]bool{"": true, address: true, ssh.LocalAddress: true}
	for _, n := range append([]string{c.Host(), strings.ToLower(f.Hostname)}, cp.CertificateNames...) {
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	return names
}

func agentConfig(cluster Cluster, n Node, f *host.Facts, address string) *config.Agent {
	return &config.Agent{
		NodeName: nodeName(n, f), DataDir: config.DefaultAgentDir, NodeAddress: address, Labels: n.Labels, Taints: n.Taints,
		Containerd: config.DefaultContainerd, Domain: cluster.Domain, PodCIDR: cluster.PodCIDR, ServiceCIDR: cluster.ServiceCIDR,
		NodePorts: cluster.NodePorts, EvictionHard: n.EvictionHard,
	}
}

// file is a configuration file.
type file struct {
	path, text string
	mode       fs.FileMode
}

// work is the phases that servers and agents share.
type work struct {
	*target
	role  string
	bin   Binary
	owner Owner
	files []file
	// restart says that the process has to start anew whatever it was started with.
	restart bool
	// restarted is set by the service phase.
	restarted bool
	// heartbeat of the node before the work; zero without.
	heartbeat time.Time
}

// provide brings programs to the host, by the package manager and from here at once.
func (w *work) provide(ctx context.Context) error {
	if err := w.run(ctx, w.mark(false), w.recordFolders()); err != nil {
		return err
	}
	return w.runTogether(ctx, w.packages(), w.binary())
}

func (w *work) packages() phase {
	return phase{
		name: "install packages", timeout: host.InstallTimeout + checkTimeout,
		done: func(context.Context) (bool, error) {
			// Only what cannot run is worth a package manager's time on a host that was installed before.
			wanted := host.WantedTools
			if w.installed.Present || w.facts.PackageManager == "" {
				wanted = host.NeededTools
			}
			return len(w.facts.Missing(wanted)) == 0, nil
		},
		do: func(ctx context.Context) error {
			_, err := host.EnsureTools(ctx, w.conn, w.facts)
			return err
		},
	}
}

func (w *work) binary() phase {
	return phase{
		name: "upload fairlead " + w.bin.Version, timeout: uploadTimeout,
		done: func(context.Context) (bool, error) {
			same := w.installed.SHA256 != "" && w.installed.SHA256 == w.bin.SHA256
			return same && (!w.bin.Release || w.installed.Version == w.bin.Version), nil // an earlier run may have learned that it is none
		},
		do: func(ctx context.Context) error { return w.uploadBinary(ctx) },
	}
}

func (t *target) platformError(bin Binary) error {
	if t.facts.OS == bin.OS && t.facts.Arch == bin.Arch {
		return nil
	}
	return fmt.Errorf("the host is %s/%s and the binary %s is for %s/%s: give the release file for its platform in the provider's releases",
		t.facts.OS, t.facts.Arch, bin.Path, bin.OS, bin.Arch)
}

// uploadBinary sends the binary after it has compared it with the checksum that was promised.
func (w *work) uploadBinary(ctx context.Context) error {
	if err := w.platformError(w.bin); err != nil {
		return err
	}
	sum, err := w.bin.sum()
	if err != nil {
		return err
	}
	if w.bin.SHA256 != "" && sum != w.bin.SHA256 {
		return fmt.Errorf("%s has checksum %s, and %s was expected", w.bin.Path, sum, w.bin.SHA256)
	}
	w.bin.SHA256 = sum
	f, err := w.bin.open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.conn.Upload(ctx, f, config.BinaryPath, 0o755); err != nil {
		return err
	}
	return w.verifyRelease(ctx)
}

// containerd starts containerd where it does not run, and records that it was we who did. A control plane without
// pods needs none.
func (w *work) containerd(needed bool) phase {
	return phase{
		name: "have containerd running", timeout: host.StopTimeout + host.StartTimeout + checkTimeout,
		done: func(context.Context) (bool, error) { return !needed, nil },
		do: func(ctx context.Context) error {
			started, err := w.services.EnsureContainerd(ctx)
			if err != nil || !started {
				return err
			}
			return host.Record(ctx, w.conn, "service", "containerd")
		},
	}
}

// podLogs is shared with other node agents: it goes at removal only when it came with us.
const podLogs = "/var/log/pods"

// runtimeFolders are made by containerd as it runs, which its package does not know of; the last is a file, of Alpine's
// service.
var runtimeFolders = []string{"/etc/cni", "/opt/containerd", "/run/containerd", "/var/lib/containerd", "/var/log/containerd.log"}

// recordFolders notes which folders are about to come, and which are there without anything in them, as a volume
// mounted for containerd is: removal takes away those, or what is in those, and no others.
func (w *work) recordFolders() phase {
	return phase{
		name: "note what is there", timeout: checkTimeout,
		done: func(context.Context) (bool, error) { return w.installed.Present, nil },
		do: func(ctx context.Context) error {
			line := "for f in " + strings.Join(append([]string{podLogs}, runtimeFolders...), " ") + `; do if [ ! -e "$f" ]; then echo "$f"; elif [ -z "$(ls -A "$f")" ]; then echo "$f" empty; fi; done`
			out, err := w.conn.Run(ctx, ssh.Command{Line: line, Sudo: true})
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(out.Stdout)) {
				f, empty, _ := strings.Cut(strings.TrimSpace(line), " ")
				kind := "folder"
				if empty != "" {
					kind = "content"
				}
				if f != podLogs {
					kind = "runtime-" + kind
				}
				if err := host.Record(ctx, w.conn, kind, f); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (w *work) configuration() phase {
	return phase{
		name: "write the configuration", timeout: checkTimeout,
		done: func(ctx context.Context) (bool, error) {
			for _, f := range w.files {
				old, err := w.conn.ReadFile(ctx, f.path)
				if errors.Is(err, fs.ErrNotExist) || err == nil && string(old) != f.text {
					return false, nil
				}
				if err != nil {
					return false, err
				}
			}
			return true, nil
		},
		do: func(ctx context.Context) error {
			for _, f := range w.files {
				if err := w.conn.Upload(ctx, strings.NewReader(f.text), f.path, f.mode); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// serviceOf is the service with a revision made of the binary and of what it reads when it starts.
func (w *work) serviceOf() host.Service {
	h := sha256.New()
	fmt.Fprintln(h, w.bin.SHA256)
	for _, f := range w.files {
		fmt.Fprintf(h, "%s\x00%s\x00", f.path, f.text)
	}
	description := "Fairlead node agent"
	if w.role == RoleServer {
		description = "Fairlead control plane"
	}
	return host.Service{
		Name: serviceName(w.role), Description: description,
		Command:  []string{config.BinaryPath, w.role, "--config", configFile(w.role)},
		Revision: hex.EncodeToString(h.Sum(nil)),
		LowerOOM: w.facts.HasCapability(host.CapSysResource),
	}
}

// service installs the unit, and starts it anew when the process is not the one of this unit, binary and
// configuration.
func (w *work) service() phase {
	return phase{name: "start the service", timeout: host.StopTimeout + host.StartTimeout + checkTimeout, do: func(ctx context.Context) error {
		s := w.serviceOf()
		revision, err := w.services.Install(ctx, s)
		if err != nil {
			return err
		}
		status, err := w.services.Status(ctx, s.Name)
		if err != nil {
			return err
		}
		if !w.restart && status.Active && status.Revision == revision {
			return nil
		}
		w.restarted = true
		if err := w.services.Restart(ctx, s.Name); err != nil {
			return w.healthError(ctx, s.Name, status, err)
		}
		return nil
	}}
}

func (w *work) serverHealth(address string) phase {
	return phase{name: "wait for the API server", timeout: serverTimeout, do: func(ctx context.Context) error {
		return w.awaitHealth(ctx, serverService, func(ctx context.Context) error {
			ca, err := w.conn.ReadFile(ctx, serverCA)
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("the server has not made its certificate authority yet")
			}
			if err != nil {
				return err
			}
			return serverReady(ctx, w.conn, address, bytes.TrimSpace(ca))
		})
	}}
}

// nodeHealth waits for the node through the API server of control.
func (w *work) nodeHealth(ctx context.Context, control ssh.Conn, name string) error {
	return w.run(ctx, phase{name: "wait for node " + name, timeout: nodeTimeout, do: func(ctx context.Context) error {
		api, _, err := openCluster(ctx, control)
		if err != nil {
			return err
		}
		defer api.close()
		before := w.heartbeat
		if !w.restarted {
			before = time.Time{}
		}
		return w.awaitHealth(ctx, serviceName(w.role), func(ctx context.Context) error { return api.nodeReady(ctx, name, before) })
	}})
}

// serverURL is where nodes reach the API server of an installed control plane.
func serverURL(in *Installed) (string, error) {
	_, port, err := net.SplitHostPort(in.APIAddress)
	if err != nil || in.Address == "" {
		return "", errors.New("its configuration names no address for nodes")
	}
	return "https://" + net.JoinHostPort(in.Address, port), nil
}
