package ssh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// missingFile is the exit status by which the read script tells an absent file from one that it cannot read.
const missingFile = 66

// undoTimeout bounds the removal of a temporary file after an upload that failed.
const undoTimeout = 10 * time.Second

// runner is the part of a Conn that files need.
type runner interface {
	Host() string
	Run(ctx context.Context, c Command) (Result, error)
}

// putter writes content to a temporary file, which exists, is empty, and belongs to root.
type putter func(ctx context.Context, r io.Reader, size int64, temp string) error

func readFile(ctx context.Context, c runner, name string) ([]byte, error) {
	q := Quote(name)
	out, err := c.Run(ctx, Command{Line: fmt.Sprintf("[ -e %s ] || exit %d; exec cat %s", q, missingFile, q), Sudo: true})
	var exit *ExitError
	if errors.As(err, &exit) && exit.Code == missingFile {
		return nil, &fs.PathError{Op: "read", Path: c.Host() + ":" + name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return out.Stdout, nil
}

// upload is Conn.Upload for every kind of connection: only the transport of the bytes differs.
func upload(ctx context.Context, c runner, put putter, r io.Reader, name string, mode fs.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot upload %s to %s: %w", name, c.Host(), err)
		}
	}()
	if !path.IsAbs(name) {
		return errors.New("the path is not absolute")
	}
	content, err := measure(r)
	if err != nil {
		return err
	}
	defer content.close()
	out, err := c.Run(ctx, Command{Line: beginScript(name, mode, content.sum), Sudo: true})
	if err != nil {
		return err
	}
	temp, changes := strings.CutPrefix(strings.TrimSpace(string(out.Stdout)), "temp ")
	if !changes {
		return nil // the same content is there
	}
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
			defer cancel()
			_, _ = c.Run(undo, Command{Line: "rm -f " + Quote(temp), Sudo: true}) // the next upload removes it too
		}
	}()
	if err := put(ctx, content.r, content.size, temp); err != nil {
		return err
	}
	_, err = c.Run(ctx, Command{Line: finishScript(temp, name, mode, content.sum), Sudo: true})
	return err
}

// beginScript prints "same" when the file has the content already, after setting mode and owner; else it makes
// a temporary file and prints "temp NAME". Leftovers of uploads that were cut off go away.
func beginScript(name string, mode fs.FileMode, sum string) string {
	dir, base := path.Split(name)
	return fmt.Sprintf(`set -e; umask 022
p=%[1]s d=%[2]s b=%[3]s
rm -f "$d.$b.fairlead-"*
if [ -f "$p" ] && [ ! -L "$p" ] && [ "$(sha256sum <"$p")" = '%[4]s  -' ]; then
  chmod %04[5]o "$p"; chown 0:0 "$p"; echo same; exit
fi
mkdir -p "$d"
t=$(umask 077; mktemp "$d.$b.fairlead-XXXXXX")
echo "temp $t"`, Quote(name), Quote(dir), Quote(base), sum, mode.Perm())
}

func finishScript(temp, name string, mode fs.FileMode, sum string) string {
	return fmt.Sprintf(`set -e
t=%[1]s p=%[2]s
[ "$(sha256sum <"$t")" = '%[3]s  -' ] || { echo "checksum differs after the transfer" >&2; exit 1; }
chmod %04[4]o "$t"; chown 0:0 "$t"; sync "$t"
mv -f "$t" "$p"; sync %[5]s`, Quote(temp), Quote(name), sum, mode.Perm(), Quote(path.Dir(name)))
}

// catPut sends the bytes through a command: for the local machine, and for hosts without SFTP.
func catPut(c runner) putter {
	return func(ctx context.Context, r io.Reader, _ int64, temp string) error {
		_, err := c.Run(ctx, Command{Line: "exec cat >" + Quote(temp), Stdin: r, Sudo: true})
		return err
	}
}

// measured is content whose checksum is known before it is sent.
type measured struct {
	r     io.ReadSeeker
	sum   string
	size  int64
	close func()
}

// spoolInMemory is how much of a stream is kept in memory before it goes to a temporary file.
const spoolInMemory = 1 << 20

// measure reads r to its end and rewinds it; what cannot be rewound is copied first.
func measure(r io.Reader) (*measured, error) {
	m := &measured{close: func() {}}
	rs, ok := r.(io.ReadSeeker)
	if !ok {
		var err error
		if rs, m.close, err = spool(r); err != nil {
			return nil, err
		}
	}
	m.r = rs
	start, err := rs.Seek(0, io.SeekCurrent)
	if err == nil {
		h := sha256.New()
		if m.size, err = io.Copy(h, rs); err == nil {
			m.sum = hex.EncodeToString(h.Sum(nil))
			_, err = rs.Seek(start, io.SeekStart)
		}
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("cannot read the content: %w", err)
	}
	return m, nil
}

func spool(r io.Reader) (_ io.ReadSeeker, done func(), err error) {
	var head bytes.Buffer
	if _, err := io.CopyN(&head, r, spoolInMemory); errors.Is(err, io.EOF) {
		return bytes.NewReader(head.Bytes()), func() {}, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("cannot read the content: %w", err)
	}
	f, err := os.CreateTemp("", "fairlead-upload-*")
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = f.Close(); _ = os.Remove(f.Name()) }
	if _, err = io.Copy(f, io.MultiReader(&head, r)); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("cannot keep the content: %w", err)
	}
	return f, done, nil
}
