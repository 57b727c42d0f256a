// Package webhook calls the webhooks that objects of the cluster name: by URL, or by a service of the cluster whose
// endpoints are dialled from here. Certificates are always verified, answers are bounded, and connections are kept.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
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
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

const (
	dialTimeout = 30 * time.Second // the call's own deadline is shorter as a rule
	idleTimeout = 90 * time.Second
	maxIdle     = 25 // connections to one webhook that are kept: as many as are called at once in bursts
	// maxTransports bounds how many authorities are kept with their connections at once.
	maxTransports = 64
	// maxAnswer is an object of the largest size as a patch, in base64, and room for the rest: the bound of a Target
	// without its own.
	maxAnswer = 8 << 20
	// maxErrorText is what is shown of an answer that is no success.
	maxErrorText = 1024
	defaultPort  = 443
)

// Target is where a webhook is. Either URL or Service is set.
type Target struct {
	URL     string
	Service *Service
	// CABundle is the PEM bundle that verifies the webhook's certificate; empty means the host's own.
	CABundle []byte
	// MaxAnswer bounds the size of an answer in bytes; 0 means 8 MiB.
	MaxAnswer int64
}

// Service is a service of the cluster. Its certificate is for NAME.NAMESPACE.svc.
type Service struct {
	Namespace, Name, Path string
	Port                  int32 // 0: 443
}

// NewService returns the service that a configuration refers to.
func NewService(namespace, name string, path *string, port *int32) *Service {
	s := &Service{Namespace: namespace, Name: name}
	if path != nil {
		s.Path = *path
	}
	if port != nil {
		s.Port = *port
	}
	return s
}

// Caller calls webhooks. It is safe for concurrent use; Close drops its idle connections.
type Caller struct {
	client func() client.Client

	mu         sync.Mutex
	transports map[transportKey]*http.Transport
}

type transportKey struct {
	ca      [sha256.Size]byte
	service bool
}

// New returns a caller that finds services with the client, which is asked for at each call.
func New(c func() client.Client) *Caller {
	return &Caller{client: c, transports: map[transportKey]*http.Transport{}}
}

// Close drops the connections that are idle. The caller may be used on.
func (c *Caller) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, t := range c.transports {
		t.CloseIdleConnections()
		delete(c.transports, key)
	}
}

// Call posts the request as JSON and decodes the answer into response. The context's deadline is told to the
// webhook, in whole seconds. An error says that there is no answer to go by.
func (c *Caller) Call(ctx context.Context, to Target, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("cannot encode request: %w", err)
	}
	at, err := to.url(ctx)
	if err != nil {
		return err
	}
	transport, err := c.transport(to)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("cannot make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	hc := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return decode(resp, cmp.Or(to.MaxAnswer, maxAnswer), response)
}

func decode(resp *http.Response, most int64, into any) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return fmt.Errorf("cannot read response: %w", err)
	}
	if int64(len(data)) > most {
		return fmt.Errorf("the response is larger than %d bytes", most)
	}
	if resp.StatusCode < http.StatusOK || resp.StatusCode > http.StatusPartialContent {
		text := strings.TrimSpace(string(data[:min(len(data), maxErrorText)]))
		var status metav1.Status
		if json.Unmarshal(data, &status) == nil && status.Message != "" {
			text = status.Message
		}
		return fmt.Errorf("the server answered %s: %s", resp.Status, text)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("cannot decode response: %w", err)
	}
	return nil
}

// url is what is called, with the deadline as a parameter.
func (t Target) url(ctx context.Context) (*url.URL, error) {
	var at *url.URL
	switch {
	case t.Service != nil:
		s := t.Service
		path, query, _ := strings.Cut(s.Path, "?")
		at = &url.URL{Scheme: "https", Host: net.JoinHostPort(s.host(), strconv.Itoa(int(s.port()))), Path: path, RawQuery: query}
	case t.URL != "":
		var err error
		if at, err = url.Parse(t.URL); err != nil {
			return nil, fmt.Errorf("cannot parse URL: %w", err)
		}
		if at.Scheme != "https" {
			return nil, fmt.Errorf("cannot call %s: only https is allowed", t.URL)
		}
	default:
		return nil, errors.New("webhook configuration must have either service or URL")
	}
	if deadline, ok := ctx.Deadline(); ok {
		seconds := max(1, int((time.Until(deadline)+time.Second-1)/time.Second))
		q := at.Query()
		q.Set("timeout", strconv.Itoa(seconds)+"s")
		at.RawQuery = q.Encode()
	}
	return at, nil
}

func (s *Service) host() string { return s.Name + "." + s.Namespace + ".svc" }

func (s *Service) port() int32 {
	if s.Port == 0 {
		return defaultPort
	}
	return s.Port
}

// transport returns the one that is kept for the target's authority.
func (c *Caller) transport(to Target) (*http.Transport, error) {
	key := transportKey{ca: sha256.Sum256(to.CABundle), service: to.Service != nil}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.transports[key]; t != nil {
		return t, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(to.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(to.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	t := &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: maxIdle,
		// HTTP/1.1, so that calls at once spread over a service's endpoints
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		DialContext:  dialer.DialContext,
	}
	if key.service {
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			at, err := c.endpoint(ctx, addr)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, at)
		}
	} else {
		t.Proxy = http.ProxyFromEnvironment
	}
	if len(c.transports) >= maxTransports {
		for old, idle := range c.transports { // any one: whoever still needs it makes it anew
			idle.CloseIdleConnections()
			delete(c.transports, old)
			break
		}
	}
	c.transports[key] = t
	return t, nil
}

// endpoint finds where NAME.NAMESPACE.svc:PORT is answered: a ready endpoint at random.
func (c *Caller) endpoint(ctx context.Context, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	name, rest, _ := strings.Cut(host, ".")
	namespace := strings.TrimSuffix(rest, ".svc")
	svc, err := client.Get[*corev1.Service](ctx, c.client(), namespace, name)
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("service %q not found", name)
	}
	if err != nil {
		return "", err
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return net.JoinHostPort(svc.Spec.ExternalName, port), nil
	}
	var chosen *corev1.ServicePort
	for i := range svc.Spec.Ports {
		if strconv.Itoa(int(svc.Spec.Ports[i].Port)) == port {
			chosen = &svc.Spec.Ports[i]
		}
	}
	if chosen == nil {
		return "", fmt.Errorf("no service port %s found for service %q", port, name)
	}
	slices, err := client.List[*discoveryv1.EndpointSlice](ctx, c.client(), client.Query{Namespace: namespace,
		Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name})})
	if err != nil {
		return "", err
	}
	var ready []string
	for _, slice := range slices {
		ready = append(ready, readyOf(slice, chosen)...)
	}
	if len(ready) == 0 {
		return "", fmt.Errorf("no endpoints available for service %q", name)
	}
	return ready[rand.IntN(len(ready))], nil
}

// readyOf returns the addresses of a slice that answer for the port, which has its name there: the number is the slice's to
// say, since whoever writes the slices of a service without a selector may say another than its target port.
func readyOf(slice *discoveryv1.EndpointSlice, port *corev1.ServicePort) []string {
	var out []string
	for _, p := range slice.Ports {
		if p.Port == nil || ptr.Deref(p.Name, "") != port.Name {
			continue
		}
		for _, e := range slice.Endpoints {
			if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				out = append(out, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return out
}
