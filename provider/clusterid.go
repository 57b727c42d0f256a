package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// clusterID names a cluster and says how its control-plane host is reached and recognized. It holds nothing
// secret: its text is NAME@HOST[:PORT][#TYPE.FINGERPRINT], where the last part is the host key's type and SHA-256
// fingerprint, for hosts that known_hosts does not vouch for.
type clusterID struct {
	Name    string
	Address string
	Port    int    // 0: the provider's, or 22
	HostKey string // "TYPE SHA256:FINGERPRINT", or ""
}

// localAddress means the machine that Terraform runs on.
const localAddress = "local"

func (c clusterID) String() string {
	var b strings.Builder
	b.WriteString(c.Name + "@")
	switch {
	case c.Port != 0:
		b.WriteString(net.JoinHostPort(c.Address, strconv.Itoa(c.Port)))
	case strings.Contains(c.Address, ":"):
		b.WriteString("[" + c.Address + "]")
	default:
		b.WriteString(c.Address)
	}
	if typ, fp, ok := strings.Cut(c.HostKey, " SHA256:"); ok {
		// Standard base64 has slashes, which separate the parts of other resources' ids.
		b.WriteString("#" + typ + "." + strings.NewReplacer("/", "_", "+", "-").Replace(fp))
	}
	return b.String()
}

// clusterIDForm is what an id must look like, for messages.
const clusterIDForm = "it must be NAME@HOST[:PORT][#TYPE.FINGERPRINT], the id attribute of a fairlead_cluster"

func parseClusterID(s string) (clusterID, error) {
	id, problem := readClusterID(s)
	if problem != "" {
		return clusterID{}, fmt.Errorf("cannot read cluster id %q: %s; %s", s, problem, clusterIDForm)
	}
	return id, nil
}

// clusterIDProblem says what is wrong with an id, for its attribute; empty means nothing.
func clusterIDProblem(s string) string {
	if _, problem := readClusterID(s); problem != "" {
		return problem + "; " + clusterIDForm
	}
	return ""
}

func readClusterID(s string) (_ clusterID, problem string) {
	bad := func(why string) (clusterID, string) { return clusterID{}, why }
	name, host, ok := strings.Cut(s, "@")
	if !ok || name == "" {
		return bad("it has no NAME@")
	}
	if len(validation.IsDNS1123Label(name)) > 0 {
		return bad(fmt.Sprintf("%q is not the name of a cluster", name))
	}
	ref, problem := readHostRef(host)
	return clusterID{Name: name, Address: ref.Address, Port: ref.Port, HostKey: ref.HostKey}, problem
}

// readHostRef reads HOST[:PORT][#TYPE.FINGERPRINT].
func readHostRef(s string) (_ hostRef, problem string) {
	bad := func(why string) (hostRef, string) { return hostRef{}, why }
	host, key, hasKey := strings.Cut(s, "#")
	var ref hostRef
	if hasKey {
		i := strings.LastIndex(key, ".")
		if i <= 0 || i == len(key)-1 {
			return bad("what follows # is not TYPE.FINGERPRINT")
		}
		if sum, err := base64.RawURLEncoding.DecodeString(key[i+1:]); err != nil || len(sum) != sha256.Size {
			return bad(fmt.Sprintf("%q is not a fingerprint", key[i+1:]))
		}
		ref.HostKey = key[:i] + " SHA256:" + strings.NewReplacer("_", "/", "-", "+").Replace(key[i+1:])
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return bad("port " + p + " is not a number from 1 to 65535")
		}
		ref.Address, ref.Port = h, n
	} else {
		ref.Address = strings.Trim(host, "[]")
	}
	if ref.Address == "" {
		return bad("it has no host")
	}
	if problem := addressProblem(ref.Address); problem != "" {
		return bad(fmt.Sprintf("%q %s", ref.Address, problem))
	}
	return ref, ""
}

// nodeID is a node's id. It does not say how the host is reached, unlike the one that parseNodeID takes: for most hosts
// the cluster knows.
func nodeID(cluster, name string) string { return cluster + "/" + name }

// parseNodeID reads CLUSTER/NAME[@HOST[:PORT][#TYPE.FINGERPRINT]], where the host is for those that are reached otherwise than at
// the address that they have in the cluster: nil when it is left out.
func parseNodeID(s string) (cluster, name string, host *hostRef, err error) {
	bad := func(problem string) (string, string, *hostRef, error) {
		return "", "", nil, fmt.Errorf("cannot read node id %q: %s; it must be CLUSTER/NAME[@HOST[:PORT][#TYPE.FINGERPRINT]], where CLUSTER is the id of a fairlead_cluster", s, problem)
	}
	i := strings.LastIndex(s, "/")
	if i < 0 {
		return bad("it has no /NAME")
	}
	cluster = s[:i]
	if _, problem := readClusterID(cluster); problem != "" {
		return bad(fmt.Sprintf("of its cluster %q, %s", cluster, problem))
	}
	name, at, hasHost := strings.Cut(s[i+1:], "@")
	if name == "" {
		return bad("it has no NAME")
	}
	if hasHost {
		ref, problem := readHostRef(at)
		if problem != "" {
			return bad("of its host, " + problem)
		}
		host = &ref
	}
	return cluster, name, host, nil
}

// parseImageID reads [CLUSTER/]REFERENCE. A reference begins with its registry, which has a dot, a colon or is
// localhost; a cluster's id has an @ in it.
func parseImageID(s string) (cluster, name, ref string, err error) {
	ref = s
	if at := strings.Index(s, "@"); at > 0 {
		i := strings.Index(s[at:], "/")
		if i < 0 {
			return "", "", "", fmt.Errorf("cannot read image id %q: it must be [CLUSTER/]REFERENCE", s)
		}
		cluster, ref = s[:at+i], s[at+i+1:]
	}
	i := strings.LastIndex(ref, ":")
	if i <= strings.LastIndex(ref, "/") {
		return "", "", "", fmt.Errorf("cannot read image id %q: the reference has no tag", s)
	}
	return cluster, strings.TrimPrefix(ref[:i], "localhost/"), ref, nil
}
