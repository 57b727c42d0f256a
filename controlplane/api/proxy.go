package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/linger"
)

// agentPort is where a node's agent listens when its status does not say; agentDial how long a connection to it
// may take.
const (
	agentPort = 10250
	agentDial = 10 * time.Second
	// maxAgents bounds the transports that are kept; beyond it all are made anew.
	maxAgents = 5000
)

// agents are the connections to nodes' agents: one transport a node, since the certificate of each is verified
// for the node's own name.
type agents struct {
	client client.Client
	tls    *tls.Config

	mu         sync.Mutex
	transports map[string]*http.Transport
	direct     *http.Transport // to pods and services: no credentials of ours
}

func newAgents(c client.Client, t *tls.Config) *agents {
	return &agents{client: c, tls: t, transports: map[string]*http.Transport{}, direct: &http.Transport{
		DialContext: (&net.Dialer{Timeout: agentDial}).DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // a pod's certificate is its own affair, as in Kubernetes
	}}
}

// transport returns the transport to a node. HTTP/1.1 alone: streams are upgraded.
func (a *agents) transport(node string) (*http.Transport, error) {
	if a.tls == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no certificate for the nodes' agents")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.transports[node]; t != nil {
		return t, nil
	}
	if len(a.transports) >= maxAgents {
		for _, t := range a.transports {
			t.CloseIdleConnections()
		}
		clear(a.transports)
	}
	c := a.tls.Clone()
	c.ServerName = node
	c.NextProtos = []string{"http/1.1"}
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: agentDial}).DialContext, TLSClientConfig: c, TLSHandshakeTimeout: agentDial,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
	}
	a.transports[node] = t
	return t, nil
}

// address returns where a node's agent is reached.
func (a *agents) address(ctx context.Context, name string) (string, error) {
	node, err := client.Get[*corev1.Node](ctx, a.client, "", name)
	if err != nil {
		return "", err
	}
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = agentPort
	}
	for _, t := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, addr := range node.Status.Addresses {
			if addr.Type == t {
				return net.JoinHostPort(addr.Address, strconv.Itoa(port)), nil
			}
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has no address yet", name))
}

// route returns the transport to a node's agent and where a path of it is.
func (a *agents) route(ctx context.Context, node, path string, query url.Values) (*http.Transport, *url.URL, error) {
	address, err := a.address(ctx, node)
	if err != nil {
		return nil, nil, err
	}
	t, err := a.transport(node)
	return t, &url.URL{Scheme: "https", Host: address, Path: path, RawQuery: query.Encode()}, err
}

// toAgent proxies to a path of a node's agent. Upgrades (SPDY, WebSocket) pass through.
func (s *Server) toAgent(w http.ResponseWriter, r *request, node, path string, query url.Values) error {
	t, to, err := s.agents.route(r.Context(), node, path, query)
	if err != nil {
		return err
	}
	s.reverse(w, r, t, to, "")
	return nil
}

// reverse proxies one request, upgrades included, with no headers of the user's identity. With a prefix what is at to is shown
// below it: links of pages and redirections lead there.
func (s *Server) reverse(w http.ResponseWriter, r *request, t http.RoundTripper, to *url.URL, prefix string) {
	if prefix != "" {
		t = &proxy.Transport{PathPrepend: prefix, RoundTripper: pages{t}}
	}
	p := &httputil.ReverseProxy{
		Transport: t, FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL, pr.Out.Host = to, to.Host
			pr.Out.Header.Del("Authorization")
			pr.Out.Header.Del("Cookie")
			pr.SetXForwarded()
			if prefix != "" {
				pr.Out.Host = pr.In.Host
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			if backend, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
				resp.Body = &upgraded{ReadWriteCloser: backend}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if r.Context().Err() == nil || !errors.Is(err, context.Canceled) {
				s.writeError(w, r, unreachable(to, err))
			}
		},
	}
	p.ServeHTTP(linger.Writer{ResponseWriter: w}, r.Request)
}

func unreachable(to *url.URL, err error) error {
	if apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
		return err
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		err = fmt.Errorf("a page of more than %d bytes is not proxied, since its links are to be rewritten", large.Limit)
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach %s: %v", to.Host, err))
}

// maxPage bounds the pages whose links are rewritten, which are held in memory.
const maxPage = 16 << 20

// pages cuts off pages that are too large.
type pages struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (p pages) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.RoundTripper.RoundTrip(req)
	if err == nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxPage)
	}
	return resp, err
}

// boundPod returns a pod that has a node.
func (s *Server) boundPod(r *request) (*corev1.Pod, error) {
	pod, err := client.Get[*corev1.Pod](r.Context(), s.client, r.namespace, r.name)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	return pod, nil
}

// containerOf returns the container that is asked for, or the pod's only or default one.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	inits := len(names)
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	if name == "" {
		if d := pod.Annotations["kubectl.kubernetes.io/default-container"]; d != "" {
			name = d
		} else if len(pod.Spec.Containers) == 1 {
			return pod.Spec.Containers[0].Name, nil
		} else {
			text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, names[inits:inits+len(pod.Spec.Containers)])
			if inits > 0 {
				text += fmt.Sprintf(" or one of the init containers: %v", names[:inits])
			}
			return "", apierrors.NewBadRequest(text)
		}
	}
	for _, n := range names {
		if n == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// podLog serves pods/NAME/log from the node's agent.
func (s *Server) podLog(w http.ResponseWriter, r *request) error {
	pod, err := client.Get[*corev1.Pod](r.Context(), s.client, r.namespace, r.name)
	if err != nil {
		return err
	}
	if err := checkLogOptions(r); err != nil {
		return err
	}
	name, err := containerOf(pod, r.query.Get("container"))
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		w.WriteHeader(http.StatusNoContent) // not scheduled: it has said nothing yet
		return nil
	}
	query := url.Values{}
	for _, p := range []string{"follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream", "insecureSkipTLSVerifyBackend"} {
		if r.query.Has(p) {
			query.Set(p, r.query.Get(p))
		}
	}
	path := "/containerLogs/" + pod.Namespace + "/" + pod.Name + "/" + name
	if wsstream.IsWebSocketRequest(r.Request) {
		return s.messages(w, r, pod.Spec.NodeName, path, query)
	}
	return s.toAgent(w, r, pod.Spec.NodeName, path, query)
}

// podStream serves exec, attach and portforward: an upgraded connection to the node's agent.
func (s *Server) podStream(w http.ResponseWriter, r *request) error {
	// a WebSocket is opened by a GET, which must not give to readers what a POST gives to writers
	if a := r.attributes(r.user); a.Verb == "get" && !s.config.AllowAll {
		a.Verb = "create"
		if ok, reason := s.authz.Allowed(r.Context(), a); !ok {
			return forbidden(a, reason)
		}
	}
	if err := s.admitConnect(r); err != nil {
		return err
	}
	pod, err := s.boundPod(r)
	if err != nil {
		return err
	}
	if !upgrade(r.Request) {
		return apierrors.NewBadRequest("Upgrade request required")
	}
	path := "/" + r.subresource + "/" + pod.Namespace + "/" + pod.Name
	query := url.Values{}
	if r.subresource == "portforward" {
		path = "/portForward/" + pod.Namespace + "/" + pod.Name
		query["ports"] = r.query["ports"]
		if wsstream.IsWebSocketRequestWithTunnelingProtocol(r.Request) {
			return s.tunnel(w, r, pod.Spec.NodeName, path, query)
		}
		return s.toAgent(w, r, pod.Spec.NodeName, path, query)
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot exec into a container in a completed pod; current phase is %s", pod.Status.Phase))
	}
	name, err := containerOf(pod, r.query.Get("container"))
	if err != nil {
		return err
	}
	for api, kubelet := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		if truth(r.query, api) {
			query.Set(kubelet, "1")
		}
	}
	query["command"] = r.query["command"]
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r.Request) {
		return s.translate(w, r, pod.Spec.NodeName, path+"/"+name, query)
	}
	return s.toAgent(w, r, pod.Spec.NodeName, path+"/"+name, query)
}

func upgrade(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") && r.Header.Get("Upgrade") != ""
}

// target splits [SCHEME:]NAME[:PORT] of a proxied name.
func target(name string) (scheme, host, port string, ok bool) {
	parts := strings.Split(name, ":")
	switch len(parts) {
	case 1:
		return "http", parts[0], "", parts[0] != ""
	case 2:
		return "http", parts[0], parts[1], parts[0] != ""
	case 3:
		if parts[0] == "" {
			parts[0] = "http"
		}
		return parts[0], parts[1], parts[2], parts[1] != "" && (parts[0] == "http" || parts[0] == "https")
	}
	return "", "", "", false
}

// proxy serves the proxy subresource of nodes, pods and services.
func (s *Server) proxy(w http.ResponseWriter, r *request) error {
	scheme, name, port, ok := target(r.name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid proxy name %q", r.name))
	}
	if err := s.admitConnect(r); err != nil {
		return err
	}
	prefix := strings.TrimSuffix(strings.TrimSuffix(r.URL.Path, r.rest), "/")
	if r.URL.Path == prefix && !upgrade(r.Request) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		// Links that are relative to a folder need its name to end with a slash.
		w.Header().Set("Location", (&url.URL{Path: prefix + "/", RawQuery: r.URL.RawQuery}).String())
		w.WriteHeader(http.StatusMovedPermanently)
		return nil
	}
	t, to, err := s.proxied(r, scheme, name, port)
	if err != nil {
		return err
	}
	s.reverse(w, r, t, to, prefix)
	return nil
}

// proxied returns where a proxied request goes, and how.
func (s *Server) proxied(r *request, scheme, name, port string) (t http.RoundTripper, to *url.URL, err error) {
	to = &url.URL{Scheme: scheme, Path: cmp.Or(r.rest, "/"), RawQuery: r.URL.RawQuery}
	switch r.plural {
	case "nodes":
		return s.agents.route(r.Context(), name, to.Path, r.query)
	case "pods":
		to.Host, err = s.podAddress(r, name, port)
	default:
		to.Host, err = s.serviceAddress(r, name, port)
	}
	return s.agents.direct, to, err
}

func (s *Server) podAddress(r *request, name, port string) (string, error) {
	pod, err := client.Get[*corev1.Pod](r.Context(), s.client, r.namespace, name)
	if err != nil {
		return "", err
	}
	if pod.Status.PodIP == "" {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s has no address yet", name))
	}
	if port == "" {
		port = "80"
		for _, c := range pod.Spec.Containers {
			if len(c.Ports) > 0 {
				port = strconv.Itoa(int(c.Ports[0].ContainerPort))
				break
			}
		}
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == port {
				port = strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	return net.JoinHostPort(pod.Status.PodIP, port), nil
}

// serviceAddress chooses a ready endpoint of a service's port.
func (s *Server) serviceAddress(r *request, name, port string) (string, error) {
	svc, err := client.Get[*corev1.Service](r.Context(), s.client, r.namespace, name)
	if apierrors.IsNotFound(err) {
		return "", noEndpoints(name)
	}
	if err != nil {
		return "", err
	}
	var chosen *corev1.ServicePort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if port == "" && len(svc.Spec.Ports) == 1 || p.Name == port && port != "" || strconv.Itoa(int(p.Port)) == port {
			chosen = p
			break
		}
	}
	if chosen == nil {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, name))
	}
	slices, err := client.List[*discoveryv1.EndpointSlice](r.Context(), s.client, client.Query{Namespace: r.namespace,
		Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name})})
	if err != nil {
		return "", err
	}
	for _, slice := range slices {
		for _, p := range slice.Ports {
			if p.Port == nil || ptr.Deref(p.Name, "") != chosen.Name {
				continue
			}
			for _, e := range slice.Endpoints {
				if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
					return net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))), nil
				}
			}
		}
	}
	return "", noEndpoints(name)
}

func noEndpoints(service string) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service))
}
