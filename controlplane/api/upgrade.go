package api

import (
	"io"
	"net/http"
	"sync/atomic"
)

// upgraded is an upgraded connection to a backend that may end before its user does: an agent closes an exec's
// connection with the process, whether or not that has read its input. Writing to it fails from then on, which for
// httputil.ReverseProxy is the end of both directions, also of the one that has output on its way to the user. So
// until that has ended what cannot be written is dropped.
type upgraded struct {
	io.ReadWriteCloser
	silent atomic.Bool // the backend has said all, and the user has it
}

// Read implements io.Reader.
func (u *upgraded) Read(p []byte) (int, error) {
	n, err := u.ReadWriteCloser.Read(p)
	if n > 0 {
		return n, nil // what ends it comes again
	}
	if err != nil {
		u.silent.Store(true)
	}
	return n, err
}

// Write implements io.Writer.
func (u *upgraded) Write(p []byte) (int, error) {
	if n, err := u.ReadWriteCloser.Write(p); err != nil && u.silent.Load() {
		return n, err
	}
	return len(p), nil
}

// CloseWrite tells the backend that the user has said all.
func (u *upgraded) CloseWrite() error {
	half, ok := u.ReadWriteCloser.(interface{ CloseWrite() error })
	if !ok {
		return http.ErrNotSupported
	}
	if err := half.CloseWrite(); err != nil && u.silent.Load() {
		return err
	}
	return nil
}
