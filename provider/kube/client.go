package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Connector makes connections to clusters. It is called when an object is read or applied, never at plan, and may be
// called for several clusters at once, though not twice at once for one.
type Connector interface {
	// Connect returns how to reach the cluster with an id; the empty id is the cluster of the provider's own
	// kubeconfig. The configuration is used for as long as the provider runs: credentials that expire sooner must
	// renew themselves (through its transport or TLS callbacks). An error that wraps ErrClusterGone says that the
	// cluster is known not to exist any more, and its objects with it; any other error keeps them in state.
	Connect(ctx context.Context, cluster string) (*rest.Config, error)
}

// ErrClusterGone says that a cluster does not exist any more, for certain. It does not cover a cluster that does not
// answer. Trying again is no use.
var ErrClusterGone = errors.New("the cluster does not exist any more")

// ErrNotKnownYet says that something of the provider's block, which the way to a cluster takes, is known in an apply only. A
// read then leaves the state as it is; what needs an answer fails.
var ErrNotKnownYet = errors.New("it is not known yet")

// ClusterComparer may be implemented by a Connector whose ids can change while the cluster stays the same, as when
// an id lists addresses. Objects are not replaced between ids of the same cluster.
type ClusterComparer interface {
	SameCluster(a, b string) bool
}

// ClusterChecker may be implemented by a Connector that can tell at plan that it will not reach a cluster.
type ClusterChecker interface {
	CheckCluster(cluster string) error
}

// Source is what a provider must give its resources as data: the clients that they share.
type Source interface {
	KubeClients() *Clients
}

// Clients connects to each cluster once and keeps the clients. It is safe for concurrent use.
type Clients struct {
	connector Connector
	mu        sync.Mutex
	clusters  map[string]*connection
}

type connection struct {
	mu     sync.Mutex
	client *Client
}

// NewClients returns clients that connect through connector.
func NewClients(connector Connector) *Clients {
	return &Clients{connector: connector, clusters: map[string]*connection{}}
}

// Client talks to one cluster. Its parts are safe for concurrent use.
type Client struct {
	// Dynamic reads and applies objects of any kind.
	Dynamic dynamic.Interface
	// Typed reads pods, events and logs.
	Typed kubernetes.Interface
}

// Get returns the client of a cluster, connecting when that is not done yet. A failure is not remembered.
func (c *Clients) Get(ctx context.Context, cluster string) (*Client, error) {
	c.mu.Lock()
	conn := c.clusters[cluster]
	if conn == nil {
		conn = &connection{}
		c.clusters[cluster] = conn
	}
	c.mu.Unlock()

	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.client != nil {
		return conn.client, nil
	}
	config, err := c.connector.Connect(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", describeCluster(cluster), err)
	}
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of %s: %w", describeCluster(cluster), err)
	}
	conn.client = client
	return client, nil
}

// SameCluster reports whether two ids mean one cluster.
func (c *Clients) SameCluster(a, b string) bool {
	if a == b {
		return true
	}
	comparer, ok := c.connector.(ClusterComparer)
	return ok && a != "" && b != "" && comparer.SameCluster(a, b)
}

// CheckCluster says what is wrong with an id, or with leaving it out, as far as that can be told without dialling.
func (c *Clients) CheckCluster(cluster string) error {
	if checker, ok := c.connector.(ClusterChecker); ok {
		return checker.CheckCluster(cluster)
	}
	return nil
}

func newClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the server has its own fairness; Terraform's -parallelism bounds what is in flight
	config.UserAgent = "terraform-provider-fairlead"
	config.WarningHandlerWithContext = warnings{}
	config.Wrap(withRetries)
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Client{Dynamic: dyn, Typed: typed}, nil
}

// objects returns the interface to the objects of a kind, in a namespace when there is one.
func (c *Client) objects(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.Dynamic.Resource(resource)
	}
	return c.Dynamic.Resource(resource).Namespace(namespace)
}

func describeCluster(cluster string) string {
	if cluster == "" {
		return "the cluster of the provider's kubeconfig"
	}
	return fmt.Sprintf("cluster %q", cluster)
}
