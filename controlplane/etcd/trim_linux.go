package etcd

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.etcd.io/etcd/server/v3/storage/backend"
	"golang.org/x/sys/unix"
)

// trim unmaps the pages of the database file that this process has looked at: they stay in the kernel's page
// cache, where reclaiming them costs nothing, and do not count as this process's memory. Reading one again is a
// minor fault. Without this every page of the database is resident after a start or a long list.
func trim(b backend.Backend, file string) error {
	// An open read transaction holds the mapping where it is until the end of this function.
	tx := b.ConcurrentReadTx()
	tx.RLock()
	defer tx.RUnlock()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("cannot find the database in memory: %w", err)
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// ADDRESS-ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[5] != file || f[1] != "r--s" {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return fmt.Errorf("cannot read /proc/self/maps: %w", err)
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return fmt.Errorf("cannot read /proc/self/maps: %w", err)
		}
		// The mapping is shared, read-only and of a file: dropping its pages loses nothing.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("cannot unmap the pages of %s: %w", file, errno)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read /proc/self/maps: %w", err)
	}
	return nil
}
