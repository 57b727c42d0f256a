package bootstrap

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Files on a host.
const (
	etcDir      = "/etc/fairlead"
	dataDir     = "/var/lib/fairlead"
	logDir      = "/var/log/fairlead"
	clusterFile = etcDir + "/cluster" // the cluster's name
	caFile      = etcDir + "/ca.crt"  // on a worker
	tokenFile   = etcDir + "/token"   // on a worker, until it has joined
	serverCA    = config.DefaultServerDir + "/pki/cluster-ca.crt"
	// previousBinary is there while an upgrade is under way.
	previousBinary = "/usr/local/bin/.fairlead.previous"
)

// Services on a host.
const (
	serverService = "fairlead-server"
	agentService  = "fairlead-agent"
)

func serviceName(role string) string {
	if role == RoleServer {
		return serverService
	}
	return agentService
}

func configFile(role string) string {
	if role == RoleServer {
		return config.ServerFile
	}
	return config.AgentFile
}

// Place says what a host is, such as `node "a" of cluster "prod"`.
func (in *Installed) Place() string {
	if in.Role == RoleServer {
		return fmt.Sprintf("the control plane of cluster %q", in.Cluster)
	}
	return fmt.Sprintf("node %q of cluster %q", in.NodeName, in.Cluster)
}

// otherCA says whether the host is known to trust another authority than this one.
func (in *Installed) otherCA(ca []byte) bool {
	return len(ca) > 0 && len(in.CA) > 0 && !bytes.Equal(bytes.TrimSpace(in.CA), bytes.TrimSpace(ca))
}

// inspectScript prints KEY=VALUE lines; files are in base64.
const inspectScript = `say() { printf '%s=%s\n' "$1" "$2"; }
file() { [ -f "$2" ] && say "$1" "$(base64 <"$2" | tr -d '\n')"; }
b=` + config.BinaryPath + `
if [ -x $b ]; then
  say sha256 "$(sha256sum <$b | cut -d ' ' -f 1)"
  say version "$($b version -o json 2>/dev/null | tr -d '\n')"
fi
if [ -e ` + host.RecordFile + ` ] || [ -e ` + ownerFile + ` ] || [ -e $b ]; then say begun yes; fi
if [ -d /run/systemd/system ]; then say init systemd
elif [ -x /sbin/openrc-run ] && [ -d /run/openrc ]; then say init openrc
else say init none; fi
file server ` + config.ServerFile + `
file agent ` + config.AgentFile + `
file cluster ` + clusterFile + `
file owner ` + ownerFile + `
file ca.server ` + serverCA + `
file ca.agent ` + caFile + `
true`

// Inspect says what is on the host. Nothing there is no error: Present is false. It is false as well on a host that
// an installation left before there was a configuration; then Begun is true, and Uninstall has something to do.
func Inspect(ctx context.Context, c ssh.Conn) (*Installed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
	defer cancel()
	return inspect(ctx, c)
}

func inspect(ctx context.Context, c ssh.Conn) (*Installed, error) {
	out, err := c.Run(ctx, ssh.Command{Line: inspectScript, Sudo: true})
	if err != nil {
		return nil, fmt.Errorf("cannot inspect %s: %w", c.Host(), err)
	}
	in, init, err := parseInspection(string(out.Stdout))
	if err != nil {
		return nil, fmt.Errorf("cannot inspect %s: %w", c.Host(), err)
	}
	if !in.Present {
		return in, nil
	}
	status, err := host.Services(c, init).Status(ctx, serviceName(in.Role))
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s for the state of its service: %w", c.Host(), err)
	}
	in.Healthy = status.Active
	if status.Active && in.Role == RoleServer {
		in.Healthy = len(in.CA) > 0 && serverReady(ctx, c, in.APIAddress, in.CA) == nil
	}
	return in, nil
}

// parseInspection reads what the script printed; init is the host's init system.
func parseInspection(out string) (in *Installed, init string, err error) {
	in = &Installed{}
	values := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "=")
		if !ok {
			return nil, "", fmt.Errorf("cannot understand line %q", line)
		}
		switch key {
		case "sha256", "init", "version", "begun":
		default:
			data, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return nil, "", fmt.Errorf("cannot decode %s: %w", key, err)
			}
			value = string(data)
		}
		values[key] = value
	}
	in.SHA256, in.Begun = values["sha256"], values["begun"] != ""
	var version struct{ Version string }
	if json.Unmarshal([]byte(values["version"]), &version) == nil { // a broken binary prints none
		in.Version = version.Version
	}
	in.Cluster = strings.TrimSpace(values["cluster"])
	if text, ok := values["owner"]; ok {
		if err := json.Unmarshal([]byte(text), &in.Owner); err != nil {
			return nil, "", fmt.Errorf("cannot parse %s: %w", ownerFile, err)
		}
	}
	if text, ok := values["server"]; ok {
		err = in.readServer(text, values["ca.server"])
	} else if text, ok := values["agent"]; ok {
		err = in.readAgent(text, values["ca.agent"])
	}
	return in, values["init"], err
}

func (in *Installed) readServer(text, ca string) error {
	var cfg config.Server
	if err := yaml.Unmarshal([]byte(text), &cfg); err != nil {
		return fmt.Errorf("cannot parse %s: %w", config.ServerFile, err)
	}
	in.Present, in.Role, in.Address, in.Pods = true, RoleServer, cfg.Advertise, cfg.Node != nil
	if in.Cluster == "" {
		in.Cluster = cfg.ClusterName
	}
	if ca != "" {
		in.CA = []byte(ca)
	}
	in.APIAddress = apiAddress(cfg.Listen)
	if cfg.Node != nil {
		in.NodeName = cfg.Node.NodeName
	}
	return nil
}

func (in *Installed) readAgent(text, ca string) error {
	var cfg config.Agent
	if err := yaml.Unmarshal([]byte(text), &cfg); err != nil {
		return fmt.Errorf("cannot parse %s: %w", config.AgentFile, err)
	}
	in.Present, in.Role, in.NodeName, in.Address, in.Pods = true, RoleAgent, cfg.NodeName, cfg.NodeAddress, true
	if ca != "" {
		in.CA = []byte(ca)
	}
	return nil
}

// apiAddress is where a server that listens so is dialled on its own host.
func apiAddress(listen string) string {
	addr, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" {
		port = strconv.Itoa(config.DefaultAPIPort)
	}
	if ip := net.ParseIP(addr); ip == nil || ip.IsUnspecified() {
		addr = "127.0.0.1"
	}
	return net.JoinHostPort(addr, port)
}
