package kube

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// A request is sent up to 1 + retries times, waiting 0.2, 0.4, 0.8, 1.6 and 3 seconds: long enough for a server
// that restarts, short enough for a person who waits for an error.
const (
	retries     = 5
	retryWait   = 200 * time.Millisecond
	retryMaxGap = 3 * time.Second
)

// withRetries wraps a transport so that named transient failures are tried again. Every request of this package can be
// sent twice: an apply is the same apply, and a deletion names the uid that it means.
func withRetries(next http.RoundTripper) http.RoundTripper {
	client := &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     next,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax: retries, RetryWaitMin: retryWait, RetryWaitMax: retryMaxGap,
		Backoff:      retryablehttp.DefaultBackoff,
		CheckRetry:   transient,
		ErrorHandler: giveUp,
	}
	return &retryablehttp.RoundTripper{Client: client}
}

// transient decides what to try again: a server that is starting, restarting or busy, and a connection that it closed.
// It does not cover names that do not resolve, timeouts or certificates, which another try a second later does not mend.
func transient(ctx context.Context, response *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		again := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
			errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		return again, nil
	}
	if response.StatusCode == http.StatusTooManyRequests && isEviction(response.Request) {
		response.Header.Del("Retry-After") // of client-go
		return false, nil
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	default:
		return false, nil
	}
}

// isEviction is said of a request that a disruption budget may refuse. That is an answer, and no server that is busy: a drain
// goes on to the next pod, and comes back to this one.
func isEviction(q *http.Request) bool {
	return q != nil && q.Method == http.MethodPost && strings.HasSuffix(q.URL.Path, "/eviction")
}

// giveUp passes on what the last try brought. Without Retry-After, so that client-go does not start anew.
func giveUp(response *http.Response, err error, _ int) (*http.Response, error) {
	if response != nil {
		response.Header.Del("Retry-After")
	}
	return response, err
}

// warnings writes the API's warnings to Terraform's log.
type warnings struct{}

// HandleWarningHeaderWithContext logs one warning.
func (warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, agent, text string) {
	if code == http.StatusOK+99 && text != "" {
		tflog.Warn(ctx, "the API server warns", map[string]any{"warning": text, "agent": agent})
	}
}
