// Package nodeagent is `fairlead agent`: it makes a host a node of a cluster. This file puts the parts together;
// each of them lives in its own package.
package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/atomicfile"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/eviction"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/dns"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/identity"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/node"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pod"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/pressure"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/proxy"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/source"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/volume"
)

const (
	identityDir = "pki"
	volumeDir   = "volumes"
	// rangeFile remembers the node's pod range, so that an agent can start while no API server answers.
	rangeFile = "pod-cidr"

	// runtimeTimeout bounds one attempt to reach containerd; it is tried again for as long as it takes, since at
	// boot it may come up later.
	runtimeTimeout = 10 * time.Second
	retainEvery    = time.Minute
)

// Complete fills in defaults and checks cfg; errors name the field as the configuration file has it.
func Complete(cfg *config.Agent) error {
	if cfg.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("nodeName: cannot read the host's name: %w", err)
		}
		cfg.NodeName = strings.ToLower(host)
	}
	if errs := validation.IsDNS1123Subdomain(cfg.NodeName); len(errs) > 0 {
		return fmt.Errorf("nodeName: %q: %s", cfg.NodeName, strings.Join(errs, "; "))
	}
	for _, d := range []struct {
		field *string
		value string
	}{
		{&cfg.DataDir, config.DefaultAgentDir}, {&cfg.Containerd, config.DefaultContainerd}, {&cfg.DNSAddress, config.DefaultDNSAddress},
		{&cfg.Domain, config.DefaultDomain}, {&cfg.PodCIDR, config.DefaultPodCIDR}, {&cfg.ServiceCIDR, config.DefaultServiceCIDR},
		{&cfg.NodePorts, config.DefaultNodePorts},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if cfg.Port == 0 {
		cfg.Port = config.DefaultAgentPort
	}
	if cfg.MaxPods == 0 {
		cfg.MaxPods = 110
	}
	for field, s := range map[string]string{"podCIDR": cfg.PodCIDR, "serviceCIDR": cfg.ServiceCIDR} {
		if _, err := netip.ParsePrefix(s); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	if _, err := netip.ParseAddr(cfg.DNSAddress); err != nil {
		return fmt.Errorf("dnsAddress: %w", err)
	}
	for _, t := range cfg.Taints {
		if _, err := node.ParseTaint(t); err != nil {
			return fmt.Errorf("taints: %w", err)
		}
	}
	if _, err := eviction.Parse(cfg.EvictionHard); err != nil {
		return fmt.Errorf("evictionHard.%w", err)
	}
	_, _, err := reserved(cfg.Reserved)
	return err
}

func reserved(r map[string]string) (milliCPU, memory int64, err error) {
	for name, s := range r {
		q, err := resource.ParseQuantity(s)
		if err != nil {
			return 0, 0, fmt.Errorf("reserved.%s: %q: %w", name, s, err)
		}
		switch name {
		case "cpu":
			milliCPU = q.MilliValue()
		case "memory":
			memory = q.Value()
		default:
			return 0, 0, fmt.Errorf("reserved.%s: only cpu and memory can be reserved", name)
		}
	}
	return milliCPU, memory, nil
}

// Joined says whether the node has its certificates, so that it needs no join token.
func Joined(cfg *config.Agent) (bool, error) {
	return identity.Exists(filepath.Join(cfg.DataDir, identityDir))
}

// agent is what Run puts together.
type agent struct {
	cfg      config.Agent
	log      *slog.Logger
	id       *identity.Identity
	client   kubernetes.Interface
	runtime  *container.Runtime
	address  netip.Addr
	network  *network.Bridge
	proxy    *proxy.Proxy
	dns      *dns.Server
	watches  *watches
	images   *image.Manager
	pressure *pressure.Monitor
	objects  *source.Objects
	volumes  *volume.Volumes
	prober   *probe.Workers
	pods     *pod.Manager
	node     *node.Node
}

// Run runs the node until ctx ends. Pods run on when it returns.
func Run(ctx context.Context, cfg config.Agent, log *slog.Logger) error {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot create data directory: %w", err)
	}
	a := &agent{cfg: cfg, log: log}
	if err := a.connect(ctx); err != nil {
		return err
	}
	if err := a.reachRuntime(ctx); err != nil {
		return err
	}
	defer a.runtime.Close()
	podCIDR, err := a.register(ctx)
	if err != nil {
		return err
	}
	if err := a.build(ctx, podCIDR); err != nil {
		return err
	}
	defer a.network.Close()
	defer a.objects.Close()
	defer a.prober.Close()
	return a.run(ctx, podCIDR)
}

// connect gets the node's identity and a client.
func (a *agent) connect(ctx context.Context) error {
	ca, err := os.ReadFile(a.cfg.CAFile)
	if err != nil {
		return fmt.Errorf("caFile: %w", err)
	}
	a.id, err = identity.Open(ctx, identity.Config{
		NodeName: a.cfg.NodeName, Dir: filepath.Join(a.cfg.DataDir, identityDir), Servers: a.cfg.Servers, CA: ca, TokenFile: a.cfg.TokenFile, Logger: a.log,
	})
	if err != nil {
		return err
	}
	if a.address, err = nodeAddress(&a.cfg); err != nil {
		return err
	}
	a.client, err = kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + certs.APIServerName,
		Transport: &http.Transport{
			TLSClientConfig: a.id.ClientTLS(), DialContext: a.id.DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		},
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"},
		UserAgent:     "fairlead-agent/" + version.String(),
		// The server bounds what a client may do; a limit here would only delay pods.
		QPS: -1,
	})
	return err
}

// nodeAddress is the configured address, or the one that packets to the first server leave from.
func nodeAddress(cfg *config.Agent) (netip.Addr, error) {
	if cfg.NodeAddress != "" {
		addr, err := netip.ParseAddr(cfg.NodeAddress)
		if err != nil {
			return addr, fmt.Errorf("nodeAddress: %w", err)
		}
		return addr, nil
	}
	host := strings.TrimPrefix(cfg.Servers[0], "https://")
	// Nothing is sent: connecting a UDP socket only looks up the route.
	conn, err := net.Dial("udp", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("nodeAddress: cannot find the address that reaches %s: %w", host, err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func (a *agent) reachRuntime(ctx context.Context) error {
	for logged := false; ; logged = true {
		try, cancel := context.WithTimeout(ctx, runtimeTimeout)
		var err error
		a.runtime, err = container.New(try, container.Options{Socket: a.cfg.Containerd, SeccompDir: filepath.Join(a.cfg.DataDir, "seccomp"), Logger: a.log})
		cancel()
		if err == nil {
			return nil
		}
		if !logged {
			a.log.Warn("cannot reach containerd yet; trying again", "socket", a.cfg.Containerd, "err", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot reach containerd: %w", err)
		case <-time.After(time.Second):
		}
	}
}

// register makes the Node and returns its pod range. A range that is known from before is enough to begin with.
func (a *agent) register(ctx context.Context) (netip.Prefix, error) {
	cpu, memory, err := reserved(a.cfg.Reserved)
	if err != nil {
		return netip.Prefix{}, err
	}
	var taints []corev1.Taint
	for _, s := range a.cfg.Taints {
		t, err := node.ParseTaint(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		taints = append(taints, t)
	}
	thresholds, err := eviction.Parse(a.cfg.EvictionHard)
	if err != nil {
		return netip.Prefix{}, err
	}
	a.images = image.New(image.Options{Client: a.runtime.Client(), Snapshotter: a.runtime.Snapshotter(), Root: a.runtime.ImageRoot(), Logger: a.log})
	a.pressure = pressure.New(pressure.Config{
		Thresholds: thresholds, NodeFS: a.cfg.DataDir, ImageFS: a.runtime.ImageRoot(), Changed: func() { a.node.Kick() },
	})
	a.node = node.New(node.Config{
		Name: a.cfg.NodeName, Address: a.address, Client: a.client, Labels: a.cfg.Labels, Taints: taints, Port: int32(a.cfg.Port), MaxPods: a.cfg.MaxPods,
		ReservedCPU: cpu, ReservedMemory: memory, Pressure: a.pressure,
		Version:        version.KubernetesVersion + version.NodeSeparator + version.String(),
		RuntimeVersion: a.runtimeVersion, Ready: a.ready, Network: a.networkProblem, Images: a.listImages, Logger: a.log,
	})
	file := filepath.Join(a.cfg.DataDir, rangeFile)
	if data, err := os.ReadFile(file); err == nil {
		if p, err := netip.ParsePrefix(strings.TrimSpace(string(data))); err == nil {
			return p, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return netip.Prefix{}, fmt.Errorf("cannot read pod range: %w", err)
	}
	n, err := a.node.Register(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil {
		return p, fmt.Errorf("cannot use pod range of node %s: %w", n.Name, err)
	}
	return p, atomicfile.Write(file, []byte(p.String()+"\n"), 0o600)
}

func (a *agent) build(ctx context.Context, podCIDR netip.Prefix) (err error) {
	cluster, services := netip.MustParsePrefix(a.cfg.PodCIDR), netip.MustParsePrefix(a.cfg.ServiceCIDR)
	a.network, err = network.New(network.Config{
		NodePodCIDR: podCIDR, PodCIDR: cluster, ServiceCIDR: services, NodeAddress: a.address, DataDir: a.cfg.DataDir, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.proxy, err = proxy.New(proxy.Config{
		NodeName: a.cfg.NodeName, NodeAddrs: []netip.Addr{a.address}, PodCIDR: cluster, ServiceCIDR: services, NodePodCIDR: podCIDR, Logger: a.log,
	})
	if err != nil {
		return err
	}
	dnsAddress := netip.MustParseAddr(a.cfg.DNSAddress)
	a.dns, err = dns.New(dns.Config{Address: dnsAddress, Domain: a.cfg.Domain, PodCIDR: cluster, ServiceCIDR: services, Logger: a.log})
	if err != nil {
		return err
	}
	a.watches = newWatches(a)
	a.objects = source.New(a.client, a.log)
	a.volumes = volume.New(volume.Config{Dir: filepath.Join(a.cfg.DataDir, volumeDir), Source: a.objects, Allocatable: a.watches.allocatable, Logger: a.log})
	events := newEvents(a.client, a.cfg.NodeName)
	a.watches.events = events
	a.prober = probe.New(probe.Config{Executor: a.runtime, NotPassed: events.unhealthy, Logger: a.log})
	a.pods = pod.New(pod.Config{
		NodeName: a.cfg.NodeName, NodeIP: a.address, Client: a.client, Services: a.watches.services, Node: a.watches.node,
		Objects: a.objects, Runtime: a.runtime, Images: a.images, Network: a.network, Volumes: a.volumes, Prober: a.prober, Recorder: events.recorder,
		DNS: pod.DNS{Address: a.cfg.DNSAddress, Domain: a.cfg.Domain}, Pressure: a.pressure, DataDir: a.cfg.DataDir, Logger: a.log,
	})
	return nil
}

func (a *agent) run(ctx context.Context, podCIDR netip.Prefix) error {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(a.cfg.Port)))
	if err != nil {
		return fmt.Errorf("cannot listen for the agent's API: %w", err)
	}
	api := stream.NewServer(stream.Config{
		Runtime: a.pods, TLS: a.id.ServingTLS(), Images: &imageAPI{images: a.images, changed: a.node.Kick}, Metrics: promhttp.Handler(), Healthy: a.ready, Logger: a.log,
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.id.Run(ctx) })
	g.Go(func() error { return api.Serve(ctx, l) })
	g.Go(func() error { return a.network.Run(ctx) })
	g.Go(func() error { return a.proxy.Run(ctx) })
	g.Go(func() error { return a.dns.Run(ctx) })
	g.Go(func() error { return a.watches.run(ctx) })
	g.Go(func() error { return a.volumes.Run(ctx) })
	g.Go(func() error { return a.pods.Run(ctx) })
	g.Go(func() error { return a.retain(ctx) })
	g.Go(func() error {
		n, err := a.node.Register(ctx)
		if err != nil {
			return nil // ctx ended
		}
		if n.Spec.PodCIDR != podCIDR.String() {
			return a.forgetRange(podCIDR, n.Spec.PodCIDR)
		}
		return a.node.Run(ctx)
	})
	return g.Wait()
}

// forgetRange ends the agent when its node was deleted and registered anew meanwhile, with another range: the
// pods that it knows went with the old node. Whoever restarts it makes it begin with the new range.
func (a *agent) forgetRange(had netip.Prefix, got string) error {
	if err := os.Remove(filepath.Join(a.cfg.DataDir, rangeFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot forget pod range: %w", err)
	}
	return fmt.Errorf("cannot go on with pod range %s: the node has %s now; starting anew", had, got)
}

// retain ends the watches of config maps and secrets that pods no longer name.
func (a *agent) retain(ctx context.Context) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.objects.Retain(a.pods.Pods())
		}
	}
}
