// Package network gives pods their addresses: a bridge with the node's pod range, a veth pair for each pod, and
// routes to the other nodes' ranges, by vxlan or directly where the nodes share a link.
package network

import (
	"context"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"
)

// PortMapping opens a host port for a container port.
type PortMapping struct {
	HostIP        netip.Addr // invalid: all
	HostPort      uint16
	ContainerPort uint16
	Protocol      string // TCP or UDP
}

// Pod is what the network needs to know of a pod.
type Pod struct {
	UID             types.UID
	Namespace, Name string
	Ports           []PortMapping
}

// Network connects pods. Implementations are safe for concurrent use.
type Network interface {
	// Attach connects the network namespace at path netns and returns the pod's addresses (one, IPv4, in this
	// release). It is idempotent: a pod that is attached gets the same answer, also after a restart of the agent.
	Attach(ctx context.Context, pod Pod, netns string) ([]netip.Addr, error)
	// Detach releases address, link and host ports of a pod. It is idempotent and works when netns is gone.
	Detach(ctx context.Context, pod types.UID) error
	// Attached returns the pods that hold addresses, so that those that are gone can be detached.
	Attached() map[types.UID][]netip.Addr
}
