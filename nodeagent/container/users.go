package container

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// userDB is what an image's /etc/passwd and /etc/group say.
type userDB struct {
	users  []passwdEntry
	groups []groupEntry
}

type passwdEntry struct {
	name     string
	uid, gid uint32
}

type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// maxUserFile bounds the files that are read from images.
const maxUserFile = 4 << 20

// usersOf reads an image's users from its unpacked snapshot. They are read once for each image: a mount costs more
// than the rest of a container's preparation.
func (r *Runtime) usersOf(ctx context.Context, chainID, key string) (*userDB, error) {
	r.mu.Lock()
	db := r.users[chainID]
	r.mu.Unlock()
	if db != nil {
		return db, nil
	}
	viewKey := key + "-users"
	mounts, err := r.snapshots().View(ctx, viewKey, chainID)
	if err != nil {
		return nil, fmt.Errorf("cannot read users of image: %w", err)
	}
	defer func() { _ = r.snapshots().Remove(context.WithoutCancel(ctx), viewKey) }()
	db = &userDB{}
	err = mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		if err := readIn(root, "etc/passwd", func(f io.Reader) { db.users = parsePasswd(f) }); err != nil {
			return err
		}
		return readIn(root, "etc/group", func(f io.Reader) { db.groups = parseGroup(f) })
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read users of image: %w", err)
	}
	r.mu.Lock()
	r.users[chainID] = db
	r.mu.Unlock()
	return db, nil
}

// readIn opens a file inside root, with its links taken inside root. A file that is missing is empty.
func readIn(root, name string, read func(io.Reader)) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open %s of image: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	read(io.LimitReader(f, maxUserFile))
	return nil
}

func parsePasswd(f io.Reader) (out []passwdEntry) {
	eachLine(f, func(p []string) {
		if len(p) < 4 {
			return
		}
		uid, err1 := strconv.ParseUint(p[2], 10, 32)
		gid, err2 := strconv.ParseUint(p[3], 10, 32)
		if err1 == nil && err2 == nil {
			out = append(out, passwdEntry{p[0], uint32(uid), uint32(gid)})
		}
	})
	return out
}

func parseGroup(f io.Reader) (out []groupEntry) {
	eachLine(f, func(p []string) {
		if len(p) < 3 {
			return
		}
		gid, err := strconv.ParseUint(p[2], 10, 32)
		if err != nil {
			return
		}
		g := groupEntry{name: p[0], gid: uint32(gid)}
		if len(p) > 3 && p[3] != "" {
			g.members = strings.Split(p[3], ",")
		}
		out = append(out, g)
	})
	return out
}

func eachLine(f io.Reader, fn func(fields []string)) {
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line != "" && line[0] != '#' {
			fn(strings.Split(line, ":"))
		}
	}
}

// identity is whom a container's process runs as.
type identity struct {
	uid, gid uint32
	extra    []uint32
}

// resolve turns USER[:GROUP], each a name or a number, into numbers, and adds the groups that list the user.
func (db *userDB) resolve(spec string) (identity, error) {
	userPart, groupPart, hasGroup := strings.Cut(spec, ":")
	var id identity
	name := userPart
	if userPart == "" {
		userPart = "0"
	}
	n, numErr := strconv.ParseUint(userPart, 10, 32)
	i := slices.IndexFunc(db.users, func(u passwdEntry) bool {
		return u.name == userPart || numErr == nil && u.uid == uint32(n)
	})
	switch {
	case i >= 0:
		id.uid, id.gid, name = db.users[i].uid, db.users[i].gid, db.users[i].name
	case numErr == nil:
		id.uid = uint32(n)
	default:
		return id, fmt.Errorf("cannot find user %q: no matching entries in passwd file", userPart)
	}
	if hasGroup && groupPart != "" {
		gid, err := db.group(groupPart)
		if err != nil {
			return id, err
		}
		id.gid = gid
	}
	for _, g := range db.groups {
		if name != "" && slices.Contains(g.members, name) {
			id.extra = append(id.extra, g.gid)
		}
	}
	return id, nil
}

func (db *userDB) group(name string) (uint32, error) {
	for _, g := range db.groups {
		if g.name == name {
			return g.gid, nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("cannot find group %q: no matching entries in group file", name)
	}
	return uint32(n), nil
}
