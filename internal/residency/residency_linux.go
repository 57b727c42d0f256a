// Package residency keeps a long-running process from holding on to memory that it needed only to start.
package residency

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release unmaps the pages of this program's own file that were read so far: most of them are the initializers and
// tables of libraries, which run once. They stay in the kernel's page cache, shared with every other process of
// the program, and one that is needed again comes back by a minor fault. Only read-only mappings are touched, so
// nothing can be lost.
func Release() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("cannot find own executable: %w", err)
	}
	return eachMapping(func(start, end uint64, permissions, path string) error {
		if path != self || strings.Contains(permissions, "w") {
			return nil
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("cannot release pages of %s: %w", self, errno)
		}
		return nil
	})
}

func eachMapping(do func(start, end uint64, permissions, path string) error) error {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("cannot read own mappings: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// ADDRESS-ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("cannot read own mappings: line %q", lines.Text())
		}
		if err := do(start, end, fields[1], fields[5]); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read own mappings: %w", err)
	}
	return nil
}
