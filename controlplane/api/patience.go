package api

import (
	"net/http"
	"sync"
	"time"
)

// defaultPatience is how long the server waits for a client that takes nothing of what is written to it: beyond the time that
// the request itself may take, and for each batch of a watch's events.
const defaultPatience = 30 * time.Second

// patience cuts a client off that does not take what is written to it: what is written then fails. Writing a deadline down with
// each write would cost HTTP/2 a message to its connection's loop every time; a timer costs next to nothing.
type patience struct {
	control *http.ResponseController
	limit   time.Duration
	timer   *time.Timer

	mu    sync.Mutex // held while the client is cut off
	ended bool       // the writer may not be touched any more
}

// newPatience is for one answer; the caller ends it before its handler returns. It begins with start.
func newPatience(w http.ResponseWriter, limit time.Duration) *patience {
	p := &patience{control: http.NewResponseController(w), limit: limit}
	p.timer = time.AfterFunc(limit, p.cutOff)
	return p
}

// patient is newPatience for an answer as a whole.
func patient(w http.ResponseWriter, limit time.Duration) (end func()) {
	return newPatience(w, limit).end
}

func (p *patience) cutOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		_ = p.control.SetWriteDeadline(time.Now().Add(-time.Second)) // only a network can; it ends the write that waits
	}
}

// pause stops the time, and resume lets it begin anew.
func (p *patience) pause()  { p.timer.Stop() }
func (p *patience) resume() { p.timer.Reset(p.limit) }

func (p *patience) end() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}
