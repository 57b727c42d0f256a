// Package bootstrap takes a bare host to a member of a cluster over a connection, and back: preflight, packages,
// binary, configuration, service, join, upgrade, removal. Every phase checks before it changes, can be
// interrupted, and can be run again.
package bootstrap

import (
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Progress gets one line for each step of a host; it may be called from several goroutines.
type Progress func(host, step string)

// Cluster is what all hosts of a cluster share.
type Cluster struct {
	Name        string
	PodCIDR     string
	ServiceCIDR string
	Domain      string
	NodePorts   string
	// CA is its certificate authority in PEM, where it is known: clusters may have equal names.
	CA []byte
	// Unknown says that nothing of it is known yet, not even which defaults hold.
	Unknown bool
}

// Node is one host's place in a cluster.
type Node struct {
	Name    string // empty: the host's name, lower-cased
	Address string // that the other nodes reach it at; empty: the address that it was dialled at
	Labels  map[string]string
	Taints  []string
	// EvictionHard says below what the node is short of something, as config.Agent has it.
	EvictionHard map[string]string
	// Owner is the resource that the host is of.
	Owner Owner
}

// ControlPlane is what a control-plane host is to be.
type ControlPlane struct {
	Cluster Cluster
	Node    Node
	// Pods says that the host runs pods too.
	Pods bool
	// CertificateNames are further names of the API server.
	CertificateNames []string
	APIPort          int // 0: config.DefaultAPIPort
	// OIDC lets users of an issuer in; nil lets none in.
	OIDC *config.OIDC
	// Audit configures the audit log.
	Audit config.Audit
}

// Installed is what is on a host.
type Installed struct {
	Present  bool
	Begun    bool   // something of ours is there, if only the beginning of an installation
	Role     string // "server" or "agent"
	Version  string
	SHA256   string // of the binary
	Cluster  string
	NodeName string
	// Healthy says that a server's /readyz is content, or that an agent's process runs: whether its node is ready
	// the cluster knows, not the host.
	Healthy bool
	// Pods says that the host runs pods.
	Pods bool
	// CA is the cluster's certificate authority in PEM, from a control-plane host.
	CA []byte
	// APIAddress is HOST:PORT of the API server on its host, for Conn.Dial.
	APIAddress string
	// Address is the node's address in the cluster.
	Address string
	// Owner is the resource that it is of; zero where none has said so.
	Owner Owner
}

// Credential is a client certificate that a control-plane host signed for a key that stays in this process.
type Credential struct {
	CA, Certificate, Key []byte // PEM
	Server               string // https://ADDRESS:PORT as nodes reach it
	APIAddress           string // HOST:PORT for Conn.Dial on the control-plane host
	Expires              time.Time
}

// Token is a bearer token that a control-plane host made. It expires unless it is renewed.
type Token struct {
	ID, Token string
	CA        []byte // PEM
	Server    string // https://ADDRESS:PORT as nodes reach it
	Expires   time.Time
}

// Target is a host in a preflight of several.
type Target struct {
	Conn ssh.Conn
	Role string // "server" or "agent"
	Node Node
	// NoPods says that the host is to run no pods, so that what nodes need it does not.
	NoPods bool
}
