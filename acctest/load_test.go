package acctest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is clients that fetch a page over and over, half of them with a new connection each time, the others with
// connections that are kept for moments, as browsers and proxies keep them.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	total   int
	answers map[string]int // by the first word of the page
	errors  []string
}

// Limits of the clients: fast enough to hit any gap of tens of milliseconds, slow enough to leave the machine's
// cores to what is tested.
const (
	loadClients = 4
	loadPace    = 20 * time.Millisecond
	loadTimeout = 5 * time.Second
)

// startLoad starts clients of the URLs in turn. The test must end them with end.
func startLoad(t *testing.T, urls ...string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{stop: cancel, answers: map[string]int{}}
	for i := range loadClients {
		transport := &http.Transport{
			DialContext: (&net.Dialer{Timeout: loadTimeout}).DialContext, DisableKeepAlives: i%2 == 0,
			IdleConnTimeout: 200 * time.Millisecond, MaxIdleConns: 2,
		}
		c := &http.Client{Transport: transport, Timeout: loadTimeout}
		l.done.Go(func() {
			defer transport.CloseIdleConnections()
			l.client(ctx, c, urls)
		})
	}
	t.Cleanup(func() { cancel(); l.done.Wait() })
	return l
}

func (l *load) client(ctx context.Context, c *http.Client, urls []string) {
	tick := time.NewTicker(loadPace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A request that is under way when the load ends is let finish: it counts too.
		start := time.Now()
		page, err := get(context.WithoutCancel(ctx), c, urls[i%len(urls)])
		l.mu.Lock()
		l.total++
		if err != nil {
			l.errors = append(l.errors, fmt.Sprintf("%s after %v: %v", start.Format("15:04:05.000"), time.Since(start).Round(time.Millisecond), err))
		} else {
			first, _, _ := strings.Cut(page, " ")
			l.answers[first]++
		}
		l.mu.Unlock()
	}
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return string(page), err
}

// seen returns how many pages began with the word.
func (l *load) seen(word string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers[word]
}

// count returns how many requests were made so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// more waits until n more requests have been made.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	want := l.count() + n
	eventually(t, time.Minute, fmt.Sprintf("%d more requests", n), func(context.Context) error {
		if got := l.count(); got < want {
			return fmt.Errorf("%d of %d were made", got, want)
		}
		return nil
	})
}

// end stops the clients, and wants no request to have failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.done.Wait()
	t.Logf("%d requests, %d failed", l.total, len(l.errors))
	if len(l.errors) > 0 {
		t.Errorf("%d of %d requests failed:\n%s", len(l.errors), l.total, strings.Join(l.errors[:min(len(l.errors), 10)], "\n"))
	}
	if l.total == 0 {
		t.Error("no request was made")
	}
}
