package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bindSubPath binds a path inside a volume to target, which it makes. The path is opened with every link kept inside
// the volume, and it is the opened file that is bound: a pod can not swap a directory for a link in between and reach
// the host. A path that is not there yet becomes a directory.
func bindSubPath(volume, subPath, target string) error {
	if path.IsAbs(subPath) || !filepath.IsLocal(subPath) {
		return fmt.Errorf("cannot mount subpath %q: it leaves the volume", subPath)
	}
	fd, err := openSubPath(volume, path.Clean(subPath))
	if err != nil {
		return fmt.Errorf("cannot mount subpath %q: %w", subPath, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cannot mount subpath %q: %w", subPath, err)
	}
	if err := makeTarget(target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return fmt.Errorf("cannot mount subpath %q: %w", subPath, err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot mount subpath %q: %w", subPath, err)
	}
	return nil
}

func makeTarget(target string, dir bool) error {
	if err := unmountAll(target); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if dir {
		return os.Mkdir(target, 0o755)
	}
	return os.WriteFile(target, nil, 0o644)
}

// openSubPath opens a path below the volume, making directories that are missing, and refuses to leave it.
func openSubPath(volume, subPath string) (int, error) {
	root, err := unix.Open(volume, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: volume, Err: err}
	}
	defer unix.Close(root)
	fd, err := openBeneath(root, subPath)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	parts := strings.Split(subPath, "/")
	for i := range parts {
		if err := mkdirBeneath(root, path.Join(parts[:i]...), parts[i]); err != nil {
			return -1, err
		}
	}
	return openBeneath(root, subPath)
}

func openBeneath(root int, subPath string) (int, error) {
	if subPath == "" {
		subPath = "."
	}
	fd, err := unix.Openat2(root, subPath, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return -1, fmt.Errorf("it leaves the volume: %w", err)
	}
	return fd, err
}

func mkdirBeneath(root int, dir, name string) error {
	parent, err := openBeneath(root, dir)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	// The mode is what a volume's owner would expect of a directory in it; fsGroup has been applied above.
	if err := unix.Mkdirat(parent, name, 0o750); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
