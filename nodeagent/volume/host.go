package volume

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// checkHostPath makes or verifies a hostPath as its type says.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	t := corev1.HostPathUnset
	if h.Type != nil {
		t = *h.Type
	}
	info, err := os.Stat(h.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("cannot use host path: %w", err)
	}
	switch t {
	case corev1.HostPathUnset:
		if missing {
			return os.MkdirAll(h.Path, 0o755)
		}
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(h.Path, 0o755)
		}
	case corev1.HostPathFileOrCreate:
		if missing {
			f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return fmt.Errorf("cannot create host path: %w", err)
			}
			return f.Close()
		}
	}
	if missing {
		return fmt.Errorf("cannot use host path %s: there is nothing there, and its type is %s", h.Path, t)
	}
	is := map[corev1.HostPathType]func(fs.FileMode) bool{
		corev1.HostPathDirectoryOrCreate: fs.FileMode.IsDir,
		corev1.HostPathDirectory:         fs.FileMode.IsDir,
		corev1.HostPathFileOrCreate:      fs.FileMode.IsRegular,
		corev1.HostPathFile:              fs.FileMode.IsRegular,
		corev1.HostPathSocket:            func(m fs.FileMode) bool { return m&fs.ModeSocket != 0 },
		corev1.HostPathCharDev:           func(m fs.FileMode) bool { return m&fs.ModeCharDevice != 0 },
		corev1.HostPathBlockDev:          func(m fs.FileMode) bool { return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0 },
	}[t]
	if is == nil || !is(info.Mode()) {
		return fmt.Errorf("cannot use host path %s: it is not of type %s", h.Path, t)
	}
	return nil
}

func setupEmptyDir(dir string, e *corev1.EmptyDirVolumeSource, gid *int64) error {
	if e.Medium == corev1.StorageMediumMemory {
		var size int64
		if e.SizeLimit != nil {
			size = e.SizeLimit.Value()
		}
		if err := mountTmpfs(dir, size, 0o777); err != nil {
			return err
		}
	} else {
		if e.Medium != corev1.StorageMediumDefault {
			return fmt.Errorf("cannot make emptyDir: medium %q is neither \"\" nor Memory", e.Medium)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make emptyDir: %w", err)
		}
	}
	return giveTo(dir, 0o777, gid)
}

// giveTo sets mode, and with a group also ownership and the bit that makes new files belong to it.
func giveTo(dir string, mode fs.FileMode, gid *int64) error {
	if gid != nil {
		if err := os.Chown(dir, -1, int(*gid)); err != nil {
			return fmt.Errorf("cannot give volume to its group: %w", err)
		}
		mode |= fs.ModeSetgid
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("cannot set mode of volume: %w", err)
	}
	return nil
}

// mountTmpfs mounts a tmpfs of size bytes (0: no limit of its own) on dir, unless it is there.
func mountTmpfs(dir string, size int64, mode fs.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make volume: %w", err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err == nil && s.Type == unix.TMPFS_MAGIC && isMountPoint(dir) {
		return nil
	}
	opts := fmt.Sprintf("mode=%04o", mode.Perm())
	if size > 0 {
		opts += fmt.Sprintf(",size=%d", size)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return fmt.Errorf("cannot mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

func isMountPoint(dir string) bool {
	var a, b unix.Stat_t
	return unix.Lstat(dir, &a) == nil && unix.Lstat(filepath.Dir(dir), &b) == nil && a.Dev != b.Dev
}

// removeTree unmounts everything below dir, deepest first, then removes it. While something is mounted still,
// nothing is removed: a bind mount's files are not ours.
func removeTree(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(mounts, func(a, b string) int { return len(b) - len(a) })
	for _, m := range mounts {
		if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot unmount %s: %w", m, err)
		}
	}
	if left, err := mountsBelow(dir); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("cannot remove %s: still mounted: %v", dir, left))
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove volumes: %w", err)
	}
	return nil
}

func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot list mounts: %w", err)
	}
	var out []string
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 5 {
			continue
		}
		if p := unescape.Replace(f[4]); p == dir || strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	return out, nil
}
