package api

import (
	"compress/gzip"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// gzipFrom is the size from which an answer is compressed, as kube-apiserver has it.
const gzipFrom = 128 << 10

// frameBuffers hold what is written at once: one HTTP/2 frame. One that a write failed with is never put back: HTTP/2 answers
// a handler as soon as its stream is reset, and may then still be sending what it was given. The same goes for gzipWriters.
var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, frameBuffer); return &b }}

// frameBuffer and the nine bytes of a frame's head fill one TLS record: a frame of the largest size that clients take by
// default would need two, each written by itself. (RFC 9113 section 4.1, RFC 8446 section 5.1)
const frameBuffer = 16<<10 - 9

// arena lends memory out of frameBuffers until release. writeAll copies what it lends and never hands it to a connection.
type arena struct{ chunks []*[]byte }

func (a *arena) take(n int) []byte {
	if n >= frameBuffer {
		return make([]byte, n)
	}
	if l := len(a.chunks); l == 0 || len(*a.chunks[l-1])+n > frameBuffer {
		a.chunks = append(a.chunks, frameBuffers.Get().(*[]byte))
	}
	chunk := a.chunks[len(a.chunks)-1]
	from := len(*chunk)
	*chunk = (*chunk)[:from+n]
	return (*chunk)[from : from+n : from+n]
}

// release takes all that was lent back.
func (a *arena) release() {
	for _, chunk := range a.chunks {
		*chunk = (*chunk)[:0]
		frameBuffers.Put(chunk)
	}
	a.chunks = nil
}

var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant of the package
	}
	return w
}}

// gzip says whether the answer should be compressed: the client takes it, and it is on another host. On the
// same host the bytes cost less than the work.
func (r *request) gzip() bool {
	if !takesGzip(r.Header.Get("Accept-Encoding")) || r.Header.Get("Range") != "" {
		return false
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return true
	}
	if ip := net.ParseIP(remote); ip != nil && ip.IsLoopback() {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	host, _, err := net.SplitHostPort(local.String())
	return err != nil || host != remote
}

// takesGzip reads an Accept-Encoding header: a weight of zero means no.
func takesGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return err != nil || q > 0
	}
	return false
}

func writeGzip(w http.ResponseWriter, code int, parts [][]byte) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Add("Vary", "Accept-Encoding")
	w.WriteHeader(code)
	gz := gzipWriters.Get().(*gzip.Writer)
	gz.Reset(w)
	if writeAll(gz, parts) && gz.Close() == nil {
		gzipWriters.Put(gz)
	}
}

// host returns the address of HOST:PORT without the port.
func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}
