package linger

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestWhatWasSentLastArrives ends a connection whose input nobody has read, before its other side has read anything.
func TestWhatWasSentLastArrives(t *testing.T) {
	last := bytes.Repeat([]byte("last words\n"), 10_000)
	closing := make(chan struct{}) // closed by the handler when all is said
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := Writer{w}.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = rw.ReadByte() // there is input, and more of it
		_ = c.(*conn).halfCloser.(*net.TCPConn).SetWriteBuffer(len(last))
		if _, err := c.Write(last); err != nil {
			t.Error(err)
		}
		close(closing)
		_ = c.Close()
	}))
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"+string(last)); err != nil {
		t.Fatal(err)
	}
	<-closing
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, last) {
		t.Errorf("%d bytes of %d: %v", len(got), len(last), err)
	}
}
