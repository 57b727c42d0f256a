package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is one file of a volume with API contents.
type file struct {
	data  []byte
	mode  fs.FileMode
	owner *int64 // nil: root
}

// dataLink is the symbolic link that a volume's files are reached through: each file of the volume links to
// ..data/FILE, and ..data to a directory that is never changed. One rename of ..data replaces all files at once,
// so a reader never sees files of two versions (the layout is a kubelet's; programs watch for ..data).
const dataLink = "..data"

// writeAtomically makes dir show payload, by relative path, and says whether anything changed.
func writeAtomically(dir string, payload map[string]file, gid *int64) (changed bool, err error) {
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot read volume: %w", err)
	}
	if old != "" && sameContent(filepath.Join(dir, old), payload) {
		return false, linkTop(dir, payload) // whoever wrote it may have come no further
	}
	version, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return false, fmt.Errorf("cannot write volume: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(version)
		}
	}()
	if err := writeVersion(version, payload, gid); err != nil {
		return false, err
	}
	if err := switchLink(dir, filepath.Base(version)); err != nil {
		return false, err
	}
	if err := linkTop(dir, payload); err != nil {
		return true, err
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			return true, fmt.Errorf("cannot remove old version of volume: %w", err)
		}
	}
	return true, nil
}

func writeVersion(version string, payload map[string]file, gid *int64) error {
	if err := os.Chmod(version, 0o755); err != nil {
		return fmt.Errorf("cannot write volume: %w", err)
	}
	for name, f := range payload {
		p := filepath.Join(version, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return fmt.Errorf("cannot write volume: %w", err)
		}
		if err := os.WriteFile(p, f.data, 0o600); err != nil {
			return fmt.Errorf("cannot write volume: %w", err)
		}
		mode := f.mode
		if f.owner != nil {
			if err := os.Chown(p, int(*f.owner), -1); err != nil {
				return fmt.Errorf("cannot give file of volume to its user: %w", err)
			}
		}
		if gid != nil {
			if err := os.Chown(p, -1, int(*gid)); err != nil {
				return fmt.Errorf("cannot give volume to its group: %w", err)
			}
			mode |= 0o440
		}
		if err := os.Chmod(p, mode); err != nil {
			return fmt.Errorf("cannot write volume: %w", err)
		}
	}
	return nil
}

func switchLink(dir, target string) error {
	next := filepath.Join(dir, dataLink+"_tmp")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot write volume: %w", err)
	}
	if err := os.Symlink(target, next); err != nil {
		return fmt.Errorf("cannot write volume: %w", err)
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("cannot write volume: %w", err)
	}
	return nil
}

// linkTop makes the top-level names link into ..data and removes those that are no longer wanted.
func linkTop(dir string, payload map[string]file) error {
	want := map[string]bool{}
	for name := range payload {
		top, _, _ := strings.Cut(name, "/")
		want[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot read volume: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if want[e.Name()] {
			delete(want, e.Name())
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("cannot remove file of volume: %w", err)
		}
	}
	for name := range want {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("cannot write volume: %w", err)
		}
	}
	return nil
}

func sameContent(version string, payload map[string]file) bool {
	seen := 0
	err := filepath.WalkDir(version, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(version, p)
		if err != nil {
			return err
		}
		want, ok := payload[name]
		if !ok {
			return fs.ErrNotExist
		}
		have, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want.data) {
			return fs.ErrInvalid
		}
		seen++
		return nil
	})
	return err == nil && seen == len(payload)
}
