package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// rotatingLog is a file that is renamed when it is full. It is safe for concurrent use.
type rotatingLog struct {
	path  string
	limit int64 // bytes
	keep  int   // renamed files

	mu   sync.Mutex
	f    *os.File
	size int64
}

func openLog(path string, limit int64, keep int) (*rotatingLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l := &rotatingLog{path: path, limit: limit, keep: keep}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *rotatingLog) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write never fails: a full disk must not end the command whose output this is. What cannot be written is lost.
func (l *rotatingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		if err := l.rotate(); err != nil {
			l.size = 0 // try again after another file's worth
			_, _ = fmt.Fprintf(l.f, "cannot rotate %s: %v\n", l.path, err)
		}
	}
	n, _ := l.f.Write(p)
	l.size += int64(n)
	return len(p), nil
}

func (l *rotatingLog) rotate() error {
	for n := l.keep; n > 0; n-- {
		older, newer := fmt.Sprintf("%s.%d", l.path, n), fmt.Sprintf("%s.%d", l.path, n-1)
		if n == 1 {
			newer = l.path
		}
		if err := os.Rename(newer, older); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	old := l.f
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close closes the file.
func (l *rotatingLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
