package pod

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// postStart runs a container's hook beside it; when that fails the container is ended, and restarts by its policy.
func (w *worker) postStart(s *starting, id string) {
	ctx, spec, pod := w.activeCtx, s.spec, s.pod
	address := ""
	if ips := w.addresses(); len(ips) > 0 {
		address = ips[0].String()
	}
	var err error
	w.operate(func() { err = w.runHook(ctx, pod, spec, id, address, spec.Lifecycle.PostStart) }, func() {
		rec := w.rec.Containers[spec.Name]
		if err == nil || ctx.Err() != nil || rec == nil || rec.ID != id {
			return
		}
		w.event(spec, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: %v", err)
		w.kill(spec, w.now().Add(graceOf(w.pod)), "FailedPostStartHook: container %s will be restarted")
	})
}

// runHook runs a lifecycle hook until it is done or ctx ends.
func (w *worker) runHook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id, address string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		code, out, err := w.m.cfg.Runtime.ExecSync(ctx, id, h.Exec.Command)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("command %q exited with %d: %s", h.Exec.Command, code, out)
		}
		return nil
	case h.HTTPGet != nil:
		return httpHook(ctx, pod, c, address, h.HTTPGet)
	case h.Sleep != nil:
		t := w.m.cfg.Clock.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer t.Stop()
		select {
		case <-t.C():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case h.TCPSocket != nil:
		return nil // the API keeps it for old clients and gives it no meaning
	}
	return errors.New("cannot run hook: it has no handler")
}

// maxHookBody is how much of an answer is read: it is not used, but a connection ends in order.
const maxHookBody = 10 << 10

func httpHook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, address string, g *corev1.HTTPGetAction) error {
	port, err := hookPort(g.Port, c)
	if err != nil {
		return err
	}
	host := g.Host
	if host == "" {
		host = address
	}
	scheme := strings.ToLower(string(g.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	path := g.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("cannot run hook: %w", err)
	}
	for _, h := range g.HTTPHeaders {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
		}
		req.Header.Add(h.Name, h.Value)
	}
	// The API defines that hooks do not verify certificates: the peer is the pod's own container.
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // see above
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return fmt.Errorf("cannot run hook: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxHookBody))
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("hook of pod %s answered %s", pod.Name, resp.Status)
	}
	return nil
}

func hookPort(p intstr.IntOrString, c *corev1.Container) (string, error) {
	if p.Type == intstr.Int {
		if p.IntVal == 0 {
			return "80", nil
		}
		return strconv.Itoa(int(p.IntVal)), nil
	}
	for _, cp := range c.Ports {
		if cp.Name == p.StrVal {
			return strconv.Itoa(int(cp.ContainerPort)), nil
		}
	}
	if _, err := strconv.ParseUint(p.StrVal, 10, 16); err == nil {
		return p.StrVal, nil
	}
	return "", fmt.Errorf("cannot find port %q of container %s", p.StrVal, c.Name)
}
