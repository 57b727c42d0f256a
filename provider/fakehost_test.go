package provider

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	testresource "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host/hosttest"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// Addresses of the hosts of a playedCluster.
const (
	controlAddress = "192.0.2.11"
	workerAddress  = "192.0.2.12"
)

// serverCAFile is made by a control plane when it starts.
const serverCAFile = config.DefaultServerDir + "/pki/cluster-ca.crt"

// playedCluster is an API server with two hosts around it, a control plane's and a worker's, that do what is asked of
// them as far as the provider sees it: a service that is started makes its node in the API.
type playedCluster struct {
	api             *rest.Config
	clients         *kubernetes.Clientset
	keys            *pki.Cluster
	control, worker *playedHost

	mu     sync.Mutex
	events []string // what the API and the hosts were asked to change, in order
}

// playedHost is one of the hosts.
type playedHost struct {
	*ssh.Fake
	cluster *playedCluster

	mu       sync.Mutex
	listens  string // a line of the facts: a port that another program has
	pid      int    // of the service, 0 while it does not run
	revision string // that it was started with
}

func playCluster(t *testing.T) *playedCluster {
	t.Helper()
	keys, err := pki.OpenCluster(t.TempDir(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	c := &playedCluster{api: startAPI(t), keys: keys}
	c.api.Wrap(func(next http.RoundTripper) http.RoundTripper { return recording{c, next} })
	c.clients = kubernetes.NewForConfigOrDie(&rest.Config{Host: c.api.Host, QPS: -1})
	c.control, c.worker = c.newHost(t, "one", controlAddress), c.newHost(t, "two", workerAddress)
	c.serve(t)
	return c
}

// note adds an event.
func (c *playedCluster) note(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
}

// happened returns the events so far, and forgets them.
func (c *playedCluster) happened() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.events = nil }()
	return c.events
}

// recording notes the provider's writes, by verb and path without the group and version.
type recording struct {
	cluster *playedCluster
	next    http.RoundTripper
}

func (r recording) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Method != http.MethodGet {
		r.cluster.note(q.Method + " " + strings.TrimPrefix(q.URL.Path, "/api/v1/"))
	}
	return r.next.RoundTrip(q)
}

// data is the provider's, connected to both hosts. Each run of the provider has its own.
func (c *playedCluster) data() *data {
	d := &data{hosts: newHosts(ssh.Config{}, ""), releases: &releases{}}
	for _, h := range []*playedHost{c.control, c.worker} {
		d.hosts.conns[hostRef{Address: h.Name}] = &hostConn{conn: h}
	}
	d.connector = &connector{hosts: d.hosts}
	d.kube = kube.NewClients(&switched{config: c.api})
	return d
}

// run runs Terraform through the steps of a test, with the provider on these hosts.
func (c *playedCluster) run(t *testing.T, steps ...testresource.TestStep) {
	t.Helper()
	runStepsOn(t, func() provider.Provider { return &heldProvider{data: c.data()} }, steps...)
}

func (c *playedCluster) newHost(t *testing.T, name, address string) *playedHost {
	h := &playedHost{Fake: ssh.NewFake(address), cluster: c}
	h.Reply("uname -s; uname -m", "Linux\nx86_64\n")
	h.On("f='/run/fairlead.lock'", hosttest.HoldLock)
	h.answer("PORTS=", func() string { return hosttest.Facts(name, address) + h.listens })
	h.answer("base64", func() string { return h.inspection(t) })
	h.answer("MainPID", func() string {
		if h.pid == 0 {
			return "0 inactive dead\n"
		}
		return fmt.Sprintf("%d active running\n%s\n", h.pid, h.revision)
	})
	h.Reply("ctr --address", "running\n")
	h.Reply("token create", "the-token\n")
	h.On("credential sign", c.sign)
	h.On("systemctl restart", func(ctx context.Context, _ ssh.Command) (string, string, int, error) {
		return "", "", 0, h.start(ctx)
	})
	h.On(" cleanup", func(_ context.Context, command ssh.Command) (string, string, int, error) {
		c.note(name + ": " + command.Line)
		return "", "", 0, nil
	})
	h.On("apt purge", func(context.Context, ssh.Command) (string, string, int, error) {
		c.note(name + ": remove packages")
		return "", "", 0, nil
	})
	h.On("rm -f "+config.BinaryPath, func(context.Context, ssh.Command) (string, string, int, error) {
		c.note(name + ": remove files")
		for f := range h.Files() {
			h.RemoveFile(f)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pid = 0
		return "", "", 0, nil
	})
	return h
}

// answer is On for output that depends on the host's state.
func (h *playedHost) answer(match string, reply func() string) {
	h.On(match, func(context.Context, ssh.Command) (string, string, int, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return reply(), "", 0, nil
	})
}

// takePort has another program listen on a port, such as "tcp 10250", or none for "".
func (h *playedHost) takePort(port string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listens = ""; port != "" {
		h.listens = "port=" + port + " 77 other\n"
	}
}

// inspection answers the script that looks what is installed. The program is there already, so that nobody uploads it.
func (h *playedHost) inspection(t *testing.T) string {
	own, err := ownBinary()
	if err != nil {
		t.Error(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "init=systemd\nsha256=%s\nversion={\"version\":%q}\n", own.SHA256, own.Version)
	files := h.Files()
	for key, path := range map[string]string{
		"server": config.ServerFile, "agent": config.AgentFile, "cluster": "/etc/fairlead/cluster", "owner": "/etc/fairlead/owner",
		"ca.server": serverCAFile, "ca.agent": "/etc/fairlead/ca.crt",
	} {
		if file, ok := files[path]; ok {
			fmt.Fprintf(&b, "%s=%s\n", key, base64.StdEncoding.EncodeToString(file.Data))
		}
	}
	return b.String()
}

// start is the start of the service that is installed.
func (h *playedHost) start(ctx context.Context) error {
	var server config.Server
	files := h.Files()
	if file, ok := files[config.AgentFile]; ok {
		if err := yaml.Unmarshal(file.Data, &server.Node); err != nil {
			return err
		}
	} else if err := yaml.Unmarshal(files[config.ServerFile].Data, &server); err != nil {
		return err
	} else {
		h.SetFile(serverCAFile, string(h.cluster.keys.Authority.PEM()), 0o644)
	}
	h.mu.Lock()
	h.pid++
	for path, f := range files {
		if _, after, ok := strings.Cut(string(f.Data), "Environment=FAIRLEAD_REVISION="); ok && strings.HasSuffix(path, ".service") {
			h.revision, _, _ = strings.Cut(after, "\n")
		}
	}
	h.mu.Unlock()
	if server.Node == nil {
		return nil
	}
	return h.cluster.register(ctx, server.Node)
}

// register makes the node of an agent, or gives the one that is there a new status.
func (c *playedCluster) register(ctx context.Context, a *config.Agent) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.NodeName, Labels: a.Labels}}
	for _, taint := range a.Taints {
		node.Spec.Taints = append(node.Spec.Taints, parseTaint(taint))
	}
	nodes := c.clients.CoreV1().Nodes()
	if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	own, err := ownBinary()
	if err != nil {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error { // controllers write to it too
		node, err := nodes.Get(ctx, a.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now()}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: a.NodeAddress}}
		node.Status.NodeInfo.KubeletVersion = "v1.36.0" + version.NodeSeparator + own.Version
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

func (c *playedCluster) sign(_ context.Context, command ssh.Command) (string, string, int, error) {
	request, err := io.ReadAll(command.Stdin)
	if err != nil {
		return "", "", 0, err
	}
	cert, err := c.keys.Authority.SignRequest(request, pki.Subject{CommonName: "u", Organizations: []string{"system:masters"}, Client: true, Life: time.Hour})
	if err != nil {
		return "", "", 0, err
	}
	out, err := json.Marshal(map[string]string{"ca": string(c.keys.Authority.PEM()), "certificate": string(cert),
		"server": "https://" + controlAddress + ":6443", "expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
	return string(out), "", 0, err
}

// serve puts TLS before the API server, on the control plane's own loopback.
func (c *playedCluster) serve(t *testing.T) {
	t.Helper()
	target, err := url.Parse(c.api.Host)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(target))
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{GetCertificate: c.keys.ServingKeyPair("cluster.local", nil).GetCertificate, ClientCAs: c.keys.Authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven}
	s.StartTLS()
	t.Cleanup(s.Close)
	c.control.OnDial("tcp 127.0.0.1:6443", func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
}

// config is what the host's file of this name says.
func configOf[T any](t *testing.T, h *playedHost, file string) T {
	t.Helper()
	var v T
	if err := yaml.Unmarshal(h.Files()[file].Data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// node is a Node as the API has it now, nil when it has none.
func (c *playedCluster) node(t *testing.T, name string) *corev1.Node {
	t.Helper()
	node, err := c.clients.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// place puts a pod on a node.
func (c *playedCluster) place(t *testing.T, name, node string, labels map[string]string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: labels}}
	pod.Spec.NodeName, pod.Spec.Containers = node, []corev1.Container{{Name: "main", Image: "web:1"}}
	if _, err := c.clients.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// isIn says whether the wanted events happened, in this order.
func isIn(events []string, want ...string) bool {
	for _, w := range want {
		i := slices.IndexFunc(events, func(e string) bool { return strings.Contains(e, w) })
		if i < 0 {
			return false
		}
		events = events[i+1:]
	}
	return true
}
