package bootstrap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
)

const (
	// pollPause is between two looks at a service that starts: nothing there tells when it is ready.
	pollPause = 200 * time.Millisecond
	// statusEvery looks one asks the service manager whether the process still is the same.
	statusEvery = 5
	// maxDeaths is how often a service may be seen dead, or as another process, before it counts as one that
	// will not come up.
	maxDeaths    = 5
	requestLimit = 10 * time.Second
	logLines     = 20
	maxBody      = 8 << 20
)

// HealthError is a service that did not become ready. It has what its log said last, which mostly tells why.
type HealthError struct {
	Host, Service string
	State         string // the service manager's word
	Log           string // last lines
	Err           error  // of the last look
}

func (e *HealthError) Error() string {
	msg := fmt.Sprintf("%s on %s is not ready (%s): %v", e.Service, e.Host, e.State, e.Err)
	if e.Log != "" {
		msg += "\nIts log ends with:\n" + e.Log
	}
	return msg
}

func (e *HealthError) Unwrap() error { return e.Err }

// awaitHealth looks until check is content, the context ends, or the service keeps dying.
func (t *target) awaitHealth(ctx context.Context, service string, check func(context.Context) error) error {
	var last error
	var status host.Status
	deaths := 0
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for n := 0; ; n++ {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // the end of ctx tells less than what was seen before
			last = err
		}
		var lost *ssh.ConnError
		if errors.As(err, &lost) {
			return err // a connection does not come back
		}
		if n%statusEvery == 0 && ctx.Err() == nil {
			if s, err := t.services.Status(ctx, service); err == nil {
				if !s.Active || status.PID != 0 && s.PID != status.PID {
					deaths++
				}
				status = s
			}
			if deaths > maxDeaths {
				return t.healthError(ctx, service, status, errors.New("its process ends again and again"))
			}
		}
		select {
		case <-ctx.Done():
			return t.healthError(ctx, service, status, fmt.Errorf("%w; last: %w", context.Cause(ctx), last))
		case <-tick.C:
		}
	}
}

// healthError asks for the log on a context of its own, since the other has ended.
func (t *target) healthError(ctx context.Context, service string, status host.Status, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
	defer cancel()
	e := &HealthError{Host: t.conn.Host(), Service: service, State: status.Detail, Err: err}
	if log, lerr := t.services.Logs(ctx, service, logLines); lerr == nil {
		e.Log = strings.TrimRight(log, "\n")
	}
	return e
}

// apiClient reaches an API server through its own host.
func apiClient(c ssh.Conn, address string, ca []byte, cred *Credential) (*http.Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the cluster's CA is no PEM certificate")
	}
	conf := &tls.Config{RootCAs: pool, ServerName: certs.APIServerName, MinVersion: tls.VersionTLS13}
	if cred != nil {
		pair, err := tls.X509KeyPair(cred.Certificate, cred.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the issued certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{
		Timeout: requestLimit,
		Transport: &http.Transport{
			TLSClientConfig: conf, DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx, "tcp", address) },
		},
	}, nil
}

// serverReady asks /readyz, and says of what fails why.
func serverReady(ctx context.Context, c ssh.Conn, address string, ca []byte) error {
	client, err := apiClient(c, address, ca, nil)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	_, err = get(ctx, client, "/readyz")
	var refused *statusError
	if errors.As(err, &refused) {
		if failed := failedChecks(refused.body); len(failed) > 0 {
			return errors.New(strings.Join(failed, "; "))
		}
	}
	return err
}

// failedChecks are the lines of an answer of /readyz that say what fails.
func failedChecks(answer string) (failed []string) {
	for line := range strings.Lines(answer) {
		if check, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]"); ok {
			failed = append(failed, check)
		}
	}
	return failed
}

// statusError is an answer that is none of what was asked for.
type statusError struct{ path, status, body string }

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.path, e.status, e.body[:min(len(e.body), 500)])
}

// errNotFound is a 404.
var errNotFound = errors.New("not found")

func get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+certs.APIServerName+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the API server does not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the answer to %s: %w", path, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, errNotFound)
	case resp.StatusCode != http.StatusOK:
		return nil, &statusError{path, resp.Status, strings.TrimSpace(string(body))}
	}
	return body, nil
}

// getObject decodes an object; one that is not there is errNotFound.
func getObject[T any](ctx context.Context, client *http.Client, path string) (*T, error) {
	body, err := get(ctx, client, path)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", path, err)
	}
	return v, nil
}

// clusterAPI asks the API through a control-plane host, as an administrator.
type clusterAPI struct{ client *http.Client }

func openCluster(ctx context.Context, control ssh.Conn) (*clusterAPI, *Credential, error) {
	cred, err := IssueCredential(ctx, control, "fairlead-bootstrap", []string{certs.AdminGroup}, nodeTimeout+5*time.Minute)
	if err != nil {
		return nil, nil, err
	}
	client, err := apiClient(control, cred.APIAddress, cred.CA, cred)
	if err != nil {
		return nil, nil, err
	}
	return &clusterAPI{client}, cred, nil
}

func (a *clusterAPI) close() { a.client.CloseIdleConnections() }

// node returns the node, nil when there is none.
func (a *clusterAPI) node(ctx context.Context, name string) (*corev1.Node, error) {
	n, err := getObject[corev1.Node](ctx, a.client, "/api/v1/nodes/"+name)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	return n, err
}

// heartbeat is when the node last renewed its lease, by its own clock; zero when it never has.
func (a *clusterAPI) heartbeat(ctx context.Context, name string) (time.Time, error) {
	lease, err := getObject[coordinationv1.Lease](ctx, a.client, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+name)
	if errors.Is(err, errNotFound) {
		return time.Time{}, nil
	}
	if err != nil || lease.Spec.RenewTime == nil {
		return time.Time{}, err
	}
	return lease.Spec.RenewTime.Time, nil
}

// nodeReady says why the node is not ready, if it is not. A node whose heartbeat still is before stands there as
// an earlier process of its agent left it.
func (a *clusterAPI) nodeReady(ctx context.Context, name string, before time.Time) error {
	n, err := a.node(ctx, name)
	if err != nil {
		return err
	}
	if n == nil {
		return fmt.Errorf("node %s has not registered", name)
	}
	if cond := readyCondition(n); cond == nil {
		return fmt.Errorf("node %s has reported no status", name)
	} else if cond.Status != corev1.ConditionTrue {
		return fmt.Errorf("node %s is not ready: %s: %s", name, cond.Reason, cond.Message)
	}
	if cond := nodeCondition(n, corev1.NodeNetworkUnavailable); cond != nil && cond.Status == corev1.ConditionTrue {
		return fmt.Errorf("the network of node %s is not available: %s: %s", name, cond.Reason, cond.Message)
	}
	if before.IsZero() {
		return nil
	}
	if now, err := a.heartbeat(ctx, name); err != nil {
		return err
	} else if now.Equal(before) {
		return fmt.Errorf("node %s has sent no sign of life since its agent was restarted", name)
	}
	return nil
}

func readyCondition(n *corev1.Node) *corev1.NodeCondition { return nodeCondition(n, corev1.NodeReady) }

func nodeCondition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}
