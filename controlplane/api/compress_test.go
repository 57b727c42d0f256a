package api

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
)

// resetStream is a response whose stream was reset: Write fails, and what it was given may still be on its way.
type resetStream struct {
	header    http.Header
	given     []byte // the first write's bytes, not copied
	wasAsThis []byte
}

func (s *resetStream) Header() http.Header { return s.header }
func (s *resetStream) WriteHeader(int)     {}

func (s *resetStream) Write(p []byte) (int, error) {
	if s.given == nil {
		s.given, s.wasAsThis = p, bytes.Clone(p)
	}
	return 0, errors.New("stream closed")
}

// TestWhatAFailedWriteWasGivenIsLeftAlone holds that no bytes of one response get into what the connection of another client
// is still sending.
func TestWhatAFailedWriteWasGivenIsLeftAlone(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	parts := func() [][]byte {
		var out [][]byte
		for range 300 {
			p := make([]byte, 1000)
			_, _ = random.Read(p)
			out = append(out, p)
		}
		return out
	}
	for name, write := range map[string]func(http.ResponseWriter, [][]byte){
		"plain": func(w http.ResponseWriter, parts [][]byte) { writeAll(w, parts) },
		"gzip":  func(w http.ResponseWriter, parts [][]byte) { writeGzip(w, http.StatusOK, parts) },
		"page": func(w http.ResponseWriter, parts [][]byte) {
			var mem arena
			defer mem.release()
			lent := make([][]byte, len(parts))
			for i, p := range parts {
				lent[i] = append(mem.take(len(p))[:0], p...)
			}
			writeAll(w, append(lent, mem.take(frameBuffer)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 { // with the race detector a pool forgets at random
				w := &resetStream{header: http.Header{}}
				write(w, parts())
				write(httptest.NewRecorder(), parts())
				if len(w.given) == 0 || !bytes.Equal(w.given, w.wasAsThis) {
					t.Fatal("another response was written into it")
				}
			}
		})
	}
}
