package api_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
)

// stalled is an HTTP/2 client that takes the heads of its answers and nothing of their bodies, unless it says so.
type stalled struct {
	*http2.Framer
	t       *testing.T
	headers bytes.Buffer
	encoder *hpack.Encoder
	last    uint32
}

func dialProtocol(t *testing.T, e *apitest.Env, c *rest.Config, protocol string) *tls.Conn {
	t.Helper()
	config, err := rest.TLSConfigFor(c)
	if err != nil {
		t.Fatal(err)
	}
	config = config.Clone()
	config.NextProtos = []string{protocol}
	at, err := url.Parse(e.Address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", at.Host, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func stall(t *testing.T, e *apitest.Env, c *rest.Config) *stalled {
	t.Helper()
	conn := dialProtocol(t, e, c, "h2")
	s := &stalled{Framer: http2.NewFramer(conn, conn), t: t}
	s.encoder = hpack.NewEncoder(&s.headers)
	s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	return s
}

// get opens a stream and returns its number.
func (s *stalled) get(path string) uint32 {
	s.t.Helper()
	s.headers.Reset()
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}, {"accept", "application/json"}} {
		if err := s.encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.last++; s.last > 1 {
		s.last++ // a client's streams have odd numbers
	}
	if err := s.WriteHeaders(http2.HeadersFrameParam{StreamID: s.last, BlockFragment: s.headers.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		s.t.Fatal(err)
	}
	return s.last
}

// until reads frames up to the one that is wanted.
func (s *stalled) until(wanted func(http2.Frame) bool) {
	s.t.Helper()
	for {
		frame, err := s.ReadFrame()
		if err != nil {
			s.t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			if err := s.WriteSettingsAck(); err != nil {
				s.t.Fatal(err)
			}
		}
		if wanted(frame) {
			return
		}
	}
}

// TestUnreadAnswersStarveNobody has a user without any rights take all seats with answers that it does not read: what is too much is refused,
// what it does not take in time is cut off, and others are served all the while.
func TestUnreadAnswersStarveNobody(t *testing.T) {
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) { c.MaxReads, c.Patience = 2, time.Millisecond }})
	bindRole(t, e.Kube(e.Admin()), "default", "view", "quiet")
	quiet := e.Kube(e.As("quiet"))
	e.Eventually("the quiet one may read", func() bool { return may(t, quiet, "list", "", "pods", "default", "") })

	noisy := stall(t, e, e.As("noisy"))
	for range 200 {
		noisy.get("/openapi/v2")
	}
	var refused *http2.MetaHeadersFrame
	noisy.until(func(f http2.Frame) bool {
		head, ok := f.(*http2.MetaHeadersFrame)
		if ok && head.PseudoValue("status") == "429" {
			refused = head
		}
		return refused != nil
	})
	if after := value(refused, "retry-after"); after != "1" {
		t.Errorf("it is to try again after %q", after)
	}
	if err := noisy.WriteWindowUpdate(refused.StreamID, 1<<16); err != nil {
		t.Fatal(err)
	}
	var body []byte
	noisy.until(func(f http2.Frame) bool {
		data, ok := f.(*http2.DataFrame)
		if ok && data.StreamID == refused.StreamID {
			body = append(body, data.Data()...)
		}
		return ok && data.StreamID == refused.StreamID && data.StreamEnded()
	})
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err != nil || status.Reason != metav1.StatusReasonTooManyRequests || status.Code != http.StatusTooManyRequests ||
		status.Details == nil || status.Details.RetryAfterSeconds != 1 {
		t.Errorf("it says %s", body)
	}
	for range 3 {
		if err := quiet.CoreV1().RESTClient().Get().Namespace("default").Resource("serviceaccounts").Name("default").MaxRetries(0).Do(t.Context()).Error(); err != nil {
			t.Errorf("another user: %v", err)
		}
	}

	other := stall(t, e, e.As("other"))
	late := other.get("/openapi/v2?timeout=1s")
	other.until(func(f http2.Frame) bool { reset, ok := f.(*http2.RSTStreamFrame); return ok && reset.StreamID == late })
}

func value(head *http2.MetaHeadersFrame, name string) string {
	for _, f := range head.RegularFields() {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// TestWatcherThatDoesNotRead wants watches cut off whose clients take nothing of their events, with either protocol.
func TestWatcherThatDoesNotRead(t *testing.T) {
	e := apitest.Start(t, apitest.Options{Change: func(c *api.Config) { c.Patience = 100 * time.Millisecond }})
	admin := e.Kube(e.Admin())
	for i := range 20 { // more than a connection's buffers hold
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}, Data: map[string]string{"a": strings.Repeat("x", 900_000)}}
		if _, err := admin.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	watches := func(n string) func() bool {
		return func() bool {
			_, _, data := do(t, e.HTTP(), http.MethodGet, e.Address+"/metrics", "", "", "")
			return strings.Contains(string(data), `apiserver_longrunning_requests{component="apiserver",verb="WATCH"} `+n+"\n")
		}
	}
	const path = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0"
	s := stall(t, e, e.Admin())
	stream := s.get(path)
	s.until(func(f http2.Frame) bool {
		reset, ok := f.(*http2.RSTStreamFrame)
		return ok && reset.StreamID == stream
	})
	e.Eventually("no watch left of HTTP/2", watches("0"))

	conn := dialProtocol(t, e, e.Admin(), "http/1.1")
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	e.Eventually("no watch left of HTTP/1.1", watches("0"))
}
