package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxAnswer is how much of an answer is read; as much of it as maxMessage goes into a message.
const (
	maxAnswer  = 10 << 10
	maxMessage = 1 << 10
)

// userAgent is what servers that treat probes apart look for.
const userAgent = "kube-probe/1.37"

// undetermined marks what says nothing of the container: its probe could not be run.
type undetermined struct{ error }

func (u undetermined) Unwrap() error { return u.error }

// attempt runs a probe once, for its timeout at the longest.
func (w *Workers) attempt(ctx context.Context, t Target, p *corev1.Probe) (o Outcome, message string) {
	timeout := seconds(max(1, p.TimeoutSeconds))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	switch {
	case p.Exec != nil:
		err = w.exec(ctx, t, p.Exec.Command)
	case p.HTTPGet != nil:
		err = httpGet(ctx, t, p.HTTPGet)
	case p.TCPSocket != nil:
		err = tcpConnect(ctx, t, p.TCPSocket)
	case p.GRPC != nil:
		err = grpcCheck(ctx, t, p.GRPC)
	default:
		err = undetermined{errors.New("the probe has no handler")}
	}
	if err == nil {
		return Passed, ""
	}
	if _, ok := errors.AsType[undetermined](err); ok {
		return Unknown, shorten(err.Error())
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Failed, fmt.Sprintf("probe timed out after %s: %v", timeout, err)
	}
	return Failed, shorten(err.Error())
}

func shorten(s string) string {
	if len(s) > maxMessage {
		return s[:maxMessage] + "…"
	}
	return s
}

func (w *Workers) exec(ctx context.Context, t Target, command []string) error {
	code, output, err := w.cfg.Executor.ExecSync(ctx, t.ContainerID, command)
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if err != nil {
		return undetermined{fmt.Errorf("cannot run probe command: %w", err)}
	}
	if code != 0 {
		return fmt.Errorf("command exited with %d: %s", code, strings.TrimSpace(string(output)))
	}
	return nil
}

// httpClient makes a new connection for every attempt, as what is probed may be a new process; it follows
// redirects on the same host only.
var httpClient = &http.Client{
	Transport: &http.Transport{
		// The API defines an HTTPS probe to skip verification: the certificate is for the service's name, not
		// for the pod's address.
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
		DisableKeepAlives:  true,
		DisableCompression: true,
		Proxy:              nil,
	},
	CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Hostname() != via[0].URL.Hostname() {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	},
}

func httpGet(ctx context.Context, t Target, a *corev1.HTTPGetAction) error {
	port, err := resolvePort(a.Port, &t.Container)
	if err != nil {
		return err
	}
	u, err := url.Parse(a.Path)
	if err != nil {
		return fmt.Errorf("cannot parse path: %w", err)
	}
	u.Scheme = strings.ToLower(string(a.Scheme))
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	u.Host = net.JoinHostPort(host(a.Host, t), port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "*/*")
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Set(h.Name, h.Value)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d: %s", resp.StatusCode, strings.TrimSpace(string(body)))
	}
	return nil
}

func tcpConnect(ctx context.Context, t Target, a *corev1.TCPSocketAction) error {
	port, err := resolvePort(a.Port, &t.Container)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host(a.Host, t), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

func grpcCheck(ctx context.Context, t Target, a *corev1.GRPCAction) error {
	conn, err := grpc.NewClient(net.JoinHostPort(t.Address.String(), strconv.Itoa(int(a.Port))),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent(userAgent), grpc.WithIdleTimeout(time.Minute))
	if err != nil {
		return err
	}
	defer conn.Close()
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", resp.Status)
	}
	return nil
}

func host(configured string, t Target) string {
	if configured != "" {
		return configured
	}
	return t.Address.String()
}

func resolvePort(p intstr.IntOrString, c *corev1.Container) (string, error) {
	if p.Type == intstr.Int {
		return strconv.Itoa(p.IntValue()), nil
	}
	for _, cp := range c.Ports {
		if cp.Name == p.StrVal {
			return strconv.Itoa(int(cp.ContainerPort)), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil && n > 0 && n < 1<<16 {
		return p.StrVal, nil
	}
	return "", undetermined{fmt.Errorf("cannot find port %q: container %s has no port of that name", p.StrVal, c.Name)}
}
