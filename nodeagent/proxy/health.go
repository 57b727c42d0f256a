package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// healthState is what a load balancer may ask of a service with externalTrafficPolicy Local.
type healthState struct {
	port  int32
	local int // ready endpoints on this node
}

// healthOf returns what to answer for a service, if it has a health check port.
func healthOf(node topology, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) (healthState, bool) {
	if svc == nil || svc.Spec.HealthCheckNodePort == 0 || svc.Spec.Type != corev1.ServiceTypeLoadBalancer ||
		svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || svc.Labels[labelProxyName] != "" {
		return healthState{}, false
	}
	addrs := map[string]bool{}
	for _, port := range svc.Spec.Ports {
		for _, e := range endpointsOf(node, port, endpointSlices) {
			if e.local && e.ready {
				addrs[e.target.Addr().String()] = true
			}
		}
	}
	return healthState{svc.Spec.HealthCheckNodePort, len(addrs)}, true
}

// healthServer answers on the health check port of each service: 200 with local endpoints, 503 without.
type healthServer struct {
	log     *slog.Logger
	running map[types.NamespacedName]*healthListener
}

type healthListener struct {
	port   int32
	name   types.NamespacedName
	local  atomic.Int64
	server *http.Server
	ended  chan struct{} // closed when nothing is served any more
}

func newHealthServer(log *slog.Logger) *healthServer {
	return &healthServer{log: log, running: map[types.NamespacedName]*healthListener{}}
}

// set makes exactly these services answer. It is called by one goroutine. A port that can not be opened is an error;
// the others are opened.
func (h *healthServer) set(want map[types.NamespacedName]healthState) error {
	for name, l := range h.running {
		if want[name].port != l.port {
			h.stop(name)
		}
	}
	var errs []error
	for name, s := range want {
		l := h.running[name]
		if l == nil {
			var err error
			if l, err = h.start(name, s.port); err != nil {
				errs = append(errs, err)
				continue
			}
			h.running[name] = l
		}
		l.local.Store(int64(s.local))
	}
	return errors.Join(errs...)
}

func (h *healthServer) start(name types.NamespacedName, port int32) (*healthListener, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, fmt.Errorf("cannot open health check port of service %s: %w", name, err)
	}
	l := &healthListener{port: port, name: name, ended: make(chan struct{})}
	l.server = &http.Server{Handler: l, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		defer close(l.ended)
		if err := l.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("health check of a service ended", "service", name.String(), "error", err)
		}
	}()
	return l, nil
}

// stop returns when the port is free: the socket goes with the call to accept on it, after Close has returned.
func (h *healthServer) stop(name types.NamespacedName) {
	l := h.running[name]
	_ = l.server.Close() // closes the listener; its error has no consequence
	<-l.ended
	delete(h.running, name)
}

// close stops all.
func (h *healthServer) close() {
	for name := range h.running {
		h.stop(name)
	}
}

// ServeHTTP answers as kube-proxy does, on every path.
func (l *healthListener) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n := l.local.Load()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(n, 10))
	if n == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"service":             map[string]string{"namespace": l.name.Namespace, "name": l.name.Name},
		"localEndpoints":      n,
		"serviceProxyHealthy": true,
	})
}
