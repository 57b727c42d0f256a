// Package config has the configuration files of `fairlead server` and `fairlead agent`: the bootstrap package
// writes them, the commands read them. Fields are those of the flags of the same name.
package config

import (
	"bytes"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// Default values that several parts must agree on.
const (
	DefaultPodCIDR     = "10.244.0.0/16"
	DefaultServiceCIDR = "10.96.0.0/16"
	DefaultDomain      = "cluster.local"
	DefaultNodePorts   = "30000-32767"
	// DefaultDNSAddress is where each node answers DNS for its pods: a link-local address on a link of its
	// own, so that a query needs no translation.
	DefaultDNSAddress = "169.254.20.10"
	DefaultAPIPort    = 6443
	DefaultAgentPort  = 10250
	DefaultVXLANPort  = 8472
	DefaultServerDir  = "/var/lib/fairlead/server"
	DefaultAgentDir   = "/var/lib/fairlead/agent"
	ServerFile        = "/etc/fairlead/server.yaml"
	AgentFile         = "/etc/fairlead/agent.yaml"
	BinaryPath        = "/usr/local/bin/fairlead"
	RunDir            = "/run/fairlead"
	// LockFile is locked by who changes the host; LockedVariable in the environment of a command says that it is run under
	// that lock.
	LockFile            = "/run/fairlead.lock"
	LockedVariable      = "FAIRLEAD_LOCKED"
	DefaultContainerd   = "/run/containerd/containerd.sock"
	ContainerdNamespace = "fairlead"
)

// Server configures `fairlead server`.
type Server struct {
	ClusterName string `json:"clusterName,omitempty"`
	DataDir     string `json:"dataDir,omitempty"`
	// Listen is ADDRESS:PORT of the API; port 0 takes a free one.
	Listen string `json:"listen,omitempty"`
	// Advertise is the address that nodes and pods reach this API server at, without port.
	Advertise string `json:"advertise,omitempty"`
	// CertificateNames are further DNS names and addresses of the serving certificate.
	CertificateNames []string `json:"certificateNames,omitempty"`
	PodCIDR          string   `json:"podCIDR,omitempty"`
	ServiceCIDR      string   `json:"serviceCIDR,omitempty"`
	Domain           string   `json:"domain,omitempty"`
	NodePorts        string   `json:"nodePorts,omitempty"`
	Etcd             Etcd     `json:"etcd,omitempty"`
	Audit            Audit    `json:"audit,omitempty"`
	// OIDC, when set, lets users in by the tokens of an OpenID Connect issuer.
	OIDC *OIDC `json:"oidc,omitempty"`
	// Node, when set, runs an agent in this process.
	Node *Agent `json:"node,omitempty"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `json:"logLevel,omitempty"`
}

// Etcd configures the embedded member, or names an external etcd.
type Etcd struct {
	// Endpoints, when set, is an external etcd with the files to reach it; no member is started then.
	Endpoints []string `json:"endpoints,omitempty"`
	CAFile    string   `json:"caFile,omitempty"`
	CertFile  string   `json:"certFile,omitempty"`
	KeyFile   string   `json:"keyFile,omitempty"`
	// QuotaBytes limits the embedded member's database; 0 means 8 GiB.
	QuotaBytes int64 `json:"quotaBytes,omitempty"`
}

// Audit configures the audit log; an empty Path means DataDir/audit.log.
type Audit struct {
	Path  string `json:"path,omitempty"`
	Level string `json:"level,omitempty"` // None, Metadata (default), Request, RequestResponse
	// Policy is a Policy of audit.k8s.io/v1 as YAML, which says the level of each request in the place of Level;
	// PolicyFile names a file that holds one.
	Policy     string `json:"policy,omitempty"`
	PolicyFile string `json:"policyFile,omitempty"`
	MaxMiB     int    `json:"maxMiB,omitempty"`
	MaxKeep    int    `json:"maxKeep,omitempty"`
}

// Agent configures `fairlead agent`.
type Agent struct {
	NodeName string `json:"nodeName,omitempty"` // empty: the host's name
	DataDir  string `json:"dataDir,omitempty"`
	// Servers are API server URLs, tried in order.
	Servers []string `json:"servers,omitempty"`
	// CAFile verifies the servers; it comes over SSH at bootstrap, never over the network it is to protect.
	CAFile string `json:"caFile,omitempty"`
	// TokenFile holds a join token; it is read only while the agent has no certificate, and removed afterwards.
	TokenFile string `json:"tokenFile,omitempty"`
	// NodeAddress is the host's address in the cluster; empty: the one that the route to the server leaves from.
	NodeAddress string            `json:"nodeAddress,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	// Taints as KEY=VALUE:EFFECT; set once, when the node registers.
	Taints      []string `json:"taints,omitempty"`
	Containerd  string   `json:"containerd,omitempty"` // socket
	DNSAddress  string   `json:"dnsAddress,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	PodCIDR     string   `json:"podCIDR,omitempty"`     // of the whole cluster, for masquerading
	ServiceCIDR string   `json:"serviceCIDR,omitempty"` // likewise
	NodePorts   string   `json:"nodePorts,omitempty"`
	Port        int      `json:"port,omitempty"` // of the agent's own API: logs, exec, attach, port-forward
	MaxPods     int      `json:"maxPods,omitempty"`
	// Reserved is kept from pods: "cpu" and "memory" quantities.
	Reserved map[string]string `json:"reserved,omitempty"`
	// EvictionHard says below what the node is short of something, by signal: a quantity or a percentage of the
	// capacity, "0%" for never. What is not in it has a kubelet's default.
	EvictionHard map[string]string `json:"evictionHard,omitempty"`
	LogLevel     string            `json:"logLevel,omitempty"`
}

// Read decodes the YAML file at path into v, which holds the defaults; an unknown field is an error.
func Read(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, v); err != nil {
		return fmt.Errorf("cannot parse configuration %s: %w", path, err)
	}
	return nil
}

// Marshal encodes a configuration with a heading that says who wrote it.
func Marshal(v any) ([]byte, error) {
	data, err := yaml.Marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Written by fairlead; the next apply overwrites changes.\n")
	b.Write(data)
	return b.Bytes(), nil
}
