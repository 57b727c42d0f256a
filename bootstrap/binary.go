package bootstrap

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Binary is the fairlead executable to put on hosts.
type Binary struct {
	Path string // on this machine
	// Member is the executable's name in the zip archive at Path; empty: Path is the executable.
	Member  string
	SHA256  string // of the executable
	Version string
	OS      string // as GOOS
	Arch    string // as GOARCH
	// Release says that it is a file that somebody chose, and not the program that runs here: whether it is what
	// it is said to be shows when a host has run it.
	Release bool
}

// open returns the executable's bytes.
func (b *Binary) open() (io.ReadCloser, error) {
	if b.Member == "" {
		f, err := os.Open(b.Path)
		if err != nil {
			return nil, fmt.Errorf("cannot open the binary: %w", err)
		}
		return f, nil
	}
	archive, err := zip.OpenReader(b.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot open archive %s: %w", b.Path, err)
	}
	f, err := archive.Open(b.Member)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open %s in archive %s: %w", b.Member, b.Path, err), archive.Close())
	}
	return &member{f, archive}, nil
}

// sum is the executable's checksum.
func (b *Binary) sum() (string, error) {
	f, err := b.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("cannot read the binary: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// member is a file of an archive, which is closed with it.
type member struct {
	io.ReadCloser
	archive io.Closer
}

func (m *member) Close() error { return errors.Join(m.ReadCloser.Close(), m.archive.Close()) }

// Platform asks the host for its operating system and architecture, as Go names them.
func Platform(ctx context.Context, c ssh.Conn) (goos, goarch string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
	defer cancel()
	out, err := c.Run(ctx, ssh.Command{Line: "uname -s; uname -m"})
	if err != nil {
		return "", "", fmt.Errorf("cannot ask %s for its platform: %w", c.Host(), err)
	}
	words := strings.Fields(string(out.Stdout))
	if len(words) != 2 {
		return "", "", fmt.Errorf("cannot ask %s for its platform: it says %q", c.Host(), out.Stdout)
	}
	return strings.ToLower(words[0]), host.Architecture(words[1]), nil
}

// verifyRelease has the host run what was uploaded: a file for another platform does not run, and one of another
// version would show as a change for ever.
func (w *work) verifyRelease(ctx context.Context) error {
	if !w.bin.Release {
		return nil
	}
	out, err := w.conn.Run(ctx, ssh.Command{Line: config.BinaryPath + " version -o json", Sudo: true})
	if err != nil {
		return fmt.Errorf("%s does not run on the host, so it is not the release for %s/%s: %w", w.bin.Path, w.facts.OS, w.facts.Arch, err)
	}
	var answer struct{ Version string }
	if err := json.Unmarshal(out.Stdout, &answer); err != nil {
		return fmt.Errorf("%s is no fairlead: it answers %q", w.bin.Path, out.Stdout)
	}
	if answer.Version != w.bin.Version {
		return fmt.Errorf("%s is version %s, and this provider is %s: give the release file of %s", w.bin.Path, answer.Version, w.bin.Version, w.bin.Version)
	}
	return nil
}
