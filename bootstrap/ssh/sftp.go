package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// errNoSFTP is an sshd without the subsystem.
var errNoSFTP = errors.New("there is no sftp subsystem")

// put sends content by SFTP, many packets at once, and by a plain session where there is no SFTP.
func (r *remote) put(ctx context.Context, content io.Reader, size int64, temp string) error {
	err := r.sftpPut(ctx, content, size, temp)
	if errors.Is(err, errNoSFTP) {
		r.log.DebugContext(ctx, "sending through a shell", "reason", err)
		return catPut(r)(ctx, content, size, temp)
	}
	return err
}

func (r *remote) sftpPut(ctx context.Context, content io.Reader, size int64, temp string) error {
	c, done, err := r.sftpClient(ctx)
	if err != nil {
		return err
	}
	defer done()
	if r.isRoot {
		return r.sftpWrite(ctx, c, content, size, temp)
	}
	return r.sftpWriteAs(ctx, c, content, size, temp)
}

// sftpWriteAs is for a user that is not root: the content goes to a folder of the user's own, and root copies
// it from there. What the user could have done to it in between, the checksum of the copy shows.
func (r *remote) sftpWriteAs(ctx context.Context, c *sftp.Client, content io.Reader, size int64, temp string) error {
	out, err := r.Run(ctx, Command{Line: `umask 077; exec mktemp -d "${TMPDIR:-/var/tmp}/fairlead-upload-XXXXXX"`})
	if err != nil {
		return err
	}
	own := strings.TrimSpace(string(out.Stdout))
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		_, _ = r.Run(undo, Command{Line: "rm -rf " + Quote(own)})
	}()
	file := path.Join(own, "content")
	if err := r.sftpWrite(ctx, c, content, size, file); err != nil {
		return err
	}
	_, err = r.Run(ctx, Command{Line: fmt.Sprintf("exec cat <%s >%s", Quote(file), Quote(temp)), Sudo: true})
	return err
}

func (r *remote) sftpWrite(ctx context.Context, c *sftp.Client, content io.Reader, size int64, name string) (err error) {
	f, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", name, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("cannot close %s: %w", name, cerr)
		}
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	if _, err := f.ReadFrom(&io.LimitedReader{R: content, N: size}); err != nil {
		return fmt.Errorf("cannot write %s: %w", name, explainWrite(err))
	}
	return nil
}

// explainWrite names the usual cause behind SFTP's one word for all failures.
func explainWrite(err error) error {
	var status *sftp.StatusError
	if errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxFailure {
		return fmt.Errorf("%w (is the disk full?)", err)
	}
	return err
}

// sftpClient opens the subsystem; done closes it. The end of ctx closes it too.
func (r *remote) sftpClient(ctx context.Context) (*sftp.Client, func(), error) {
	s, free, err := r.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	c, err := startSFTP(s)
	if err != nil {
		stop()
		free()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	return c, func() { stop(); _ = c.Close(); free() }, nil
}

func startSFTP(s *ssh.Session) (*sftp.Client, error) {
	w, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	rd, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.RequestSubsystem("sftp"); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSFTP, err)
	}
	// Concurrent writes may leave a hole when they are cut off; the checksum that follows would find it.
	c, err := sftp.NewClientPipe(rd, w, sftp.UseConcurrentWrites(true))
	if err != nil { // sshd names a server program that is not there
		return nil, fmt.Errorf("%w: %w", errNoSFTP, err)
	}
	return c, nil
}
