// Package linger closes connections so that what was sent last arrives.
//
// A connection that is closed while input lies unread in it is reset at once, and what it still has to send is dropped (RFC
// 9293, 3.10.4). A command that ends without reading all its input leaves one like that, and would lose its output.
package linger

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// farewell is how long the other side may take to read what was sent last and to close: megabytes over a slow line.
const farewell = 30 * time.Second

// Writer is a response writer whose connection, once it is taken over, is closed in two steps: first no more is sent;
// then, when the other side has closed too or farewell is over, no more is read.
type Writer struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (w Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if half, ok := c.(halfCloser); ok {
		c = &conn{halfCloser: half}
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController.
func (w Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// halfCloser is a connection by TCP or TLS.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

type conn struct {
	halfCloser
	once sync.Once
	err  error
}

// Close waits for the other side, within bounds. Who still reads from the connection reads to its end.
func (c *conn) Close() error {
	c.once.Do(func() {
		if err := c.CloseWrite(); err == nil {
			// No deadline: others who still read set their own.
			stop := time.AfterFunc(farewell, func() { _ = c.halfCloser.Close() })
			_, _ = io.Copy(io.Discard, c.halfCloser)
			stop.Stop()
		}
		c.err = c.halfCloser.Close()
	})
	return c.err
}
