package custom

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
)

const (
	// maxAnswer bounds what a webhook may answer with: a page of a list converted at once.
	maxAnswer = 64 << 20
	// maxIdle is how many connections to one webhook are kept.
	maxIdle = 8
)

// webhookClient returns the client and the URL by which a definition's webhook is called. A service of the cluster
// is dialled at one of its endpoints, since this host need not have the service network.
func (d *Definitions) webhookClient(c *apiextensionsv1.WebhookClientConfig) (*http.Client, string, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(bytes.TrimSpace(c.CABundle)) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(c.CABundle) {
			return nil, "", errors.New("cannot use caBundle: it has no PEM certificate")
		}
	}
	transport := &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: webhookTimeout}
	hc := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if c.URL != nil {
		transport.Proxy = http.ProxyFromEnvironment
		return hc, *c.URL, nil
	}
	if c.Service == nil {
		return nil, "", errors.New("cannot call the webhook: it has neither url nor service")
	}
	ref := *c.Service
	port, path := int32(443), "/"
	if ref.Port != nil {
		port = *ref.Port
	}
	if ref.Path != nil {
		path = *ref.Path
	}
	host := ref.Name + "." + ref.Namespace + ".svc"
	conf.ServerName = host
	dialer := &net.Dialer{}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr, err := d.endpoint(ctx, ref.Namespace, ref.Name, port)
		if err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, network, addr)
	}
	return hc, "https://" + net.JoinHostPort(host, strconv.Itoa(int(port))) + path, nil
}

// endpoint chooses a ready endpoint of a service's port.
func (d *Definitions) endpoint(ctx context.Context, namespace, name string, port int32) (string, error) {
	svc, err := client.Get[*corev1.Service](ctx, d.client, namespace, name)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if at < 0 {
		return "", fmt.Errorf("no service port %d found for service %q", port, name)
	}
	parts, err := client.List[*discoveryv1.EndpointSlice](ctx, d.client, client.Query{
		Namespace: namespace, Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}),
	})
	if err != nil {
		return "", err
	}
	var ready []string
	for _, s := range parts {
		for _, p := range s.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != svc.Spec.Ports[at].Name {
				continue
			}
			for _, e := range s.Endpoints {
				if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
					ready = append(ready, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(ready) == 0 {
		return "", fmt.Errorf("no endpoints available for service %q", name)
	}
	return ready[rand.IntN(len(ready))], nil
}
