// Package conntest is what every ssh.Conn must do, as one suite.
package conntest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// Lines are the commands that the suite runs; a fake has to answer them as /bin/sh does.
const (
	LineBoth  = `echo out; echo err >&2`
	LineFail  = `echo why >&2; exit 7`
	LineCat   = `cat`
	LineSleep = `echo started; exec sleep 300`
	LineRoot  = `id -u`
)

// patience bounds what ought to be immediate.
const patience = 90 * time.Second

// Run runs the suite. open returns a new connection; dir is an existing directory on its host that root can
// write and the suite may fill.
func Run(t *testing.T, dir string, open func(t *testing.T) ssh.Conn) {
	cases := map[string]func(*testing.T, context.Context, ssh.Conn, string){
		"output": testOutput, "failure": testFailure, "stdin": testStdin, "stdout writer": testStdoutWriter,
		"root": testRoot, "cancel": testCancel, "secret": testSecret, "files": testFiles, "missing file": testMissing,
		"relative upload": testRelative, "dial": testDial, "concurrent": testConcurrent, "close": testClose,
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c := open(t)
			defer c.Close()
			test(t, ctx, c, dir)
		})
	}
}

func testOutput(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	out, err := c.Run(ctx, ssh.Command{Line: LineBoth})
	if err != nil || string(out.Stdout) != "out\n" || string(out.Stderr) != "err\n" {
		t.Fatalf("got %q, %q, %v", out.Stdout, out.Stderr, err)
	}
}

func testFailure(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	out, err := c.Run(ctx, ssh.Command{Line: LineFail})
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("got %v, want an ExitError", err)
	}
	if exit.Code != 7 || string(exit.Stderr) != "why\n" || exit.Host != c.Host() || exit.Line != LineFail {
		t.Errorf("got %+v", exit)
	}
	if string(out.Stderr) != "why\n" {
		t.Errorf("result has stderr %q", out.Stderr)
	}
}

func testStdin(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	in := strings.Repeat("0123456789abcdef", 1<<14)
	out, err := c.Run(ctx, ssh.Command{Line: LineCat, Stdin: strings.NewReader(in)})
	if err != nil || string(out.Stdout) != in {
		t.Fatalf("got %d bytes, %v", len(out.Stdout), err)
	}
}

func testStdoutWriter(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	var w bytes.Buffer
	out, err := c.Run(ctx, ssh.Command{Line: LineBoth, Stdout: &w})
	if err != nil || w.String() != "out\n" || len(out.Stdout) != 0 {
		t.Fatalf("got %q, %q, %v", w.String(), out.Stdout, err)
	}
}

func testRoot(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	out, err := c.Run(ctx, ssh.Command{Line: LineRoot, Sudo: true})
	if err != nil || string(out.Stdout) != "0\n" {
		t.Fatalf("got %q, %v", out.Stdout, err)
	}
}

func testCancel(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	for _, sudo := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(ctx)
		r, w := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := c.Run(ctx, ssh.Command{Line: LineSleep, Stdout: w, Sudo: sudo})
			ended <- err
		}()
		if _, err := io.ReadFull(r, make([]byte, len("started\n"))); err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		cancel(enough)
		if err := <-ended; !errors.Is(err, enough) {
			t.Fatalf("got %v, want the cause of the end", err)
		}
	}
}

func testSecret(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	_, err := c.Run(ctx, ssh.Command{Line: LineFail, Secret: true})
	if err == nil || strings.Contains(err.Error(), "exit 7") {
		t.Fatalf("got %v, want an error without the line", err)
	}
}

func testFiles(t *testing.T, ctx context.Context, c ssh.Conn, dir string) {
	name := dir + "/new folder/it's a file"
	big := bytes.Repeat([]byte("fairlead\x00\n"), 300_000)
	for _, data := range [][]byte{[]byte("one"), {}, big, big} {
		// A plain reader, which cannot be rewound.
		if err := c.Upload(ctx, io.MultiReader(bytes.NewReader(data)), name, 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := c.ReadFile(ctx, name); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("got %d bytes, want %d: %v", len(got), len(data), err)
		}
	}
}

func testMissing(t *testing.T, ctx context.Context, c ssh.Conn, dir string) {
	if _, err := c.ReadFile(ctx, dir+"/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want fs.ErrNotExist", err)
	}
}

func testRelative(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	if err := c.Upload(ctx, strings.NewReader("x"), "relative", 0o600); err == nil {
		t.Fatal("a relative path was taken")
	}
}

// DialAddress is where the suite listens, for a fake that has to be told.
var DialAddress = "127.0.0.1:0"

func testDial(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	l, err := net.Listen("tcp", DialAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if f, ok := c.(*ssh.Fake); ok {
		f.OnDial("tcp "+l.Addr().String(), func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		})
	}
	served := make(chan error, 1)
	go func() {
		s, err := l.Accept()
		if err == nil {
			_, err = io.Copy(s, s)
			_ = s.Close()
		}
		served <- err
	}()
	conn, err := c.Dial(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	_ = conn.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if conn, err := c.Dial(ctx, "tcp", l.Addr().String()); err == nil {
		_ = conn.Close()
		t.Fatal("connected to a closed port")
	}
}

// testConcurrent runs more commands at once than sshd allows sessions.
func testConcurrent(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	const n = 24
	errs := make(chan error, n)
	for range n {
		go func() {
			out, err := c.Run(ctx, ssh.Command{Line: LineCat, Stdin: strings.NewReader("x")})
			if err == nil && string(out.Stdout) != "x" {
				err = errors.New("wrong output " + string(out.Stdout))
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func testClose(t *testing.T, ctx context.Context, c ssh.Conn, _ string) {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, ssh.Command{Line: LineSleep, Stdout: w})
		ended <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var lost *ssh.ConnError
	if err := <-ended; !errors.As(err, &lost) {
		t.Errorf("the running command ended with %v, want a ConnError", err)
	}
	if _, err := c.Run(ctx, ssh.Command{Line: LineCat}); !errors.As(err, &lost) || !errors.Is(err, ssh.ErrClosed) {
		t.Errorf("a command after Close: %v, want a ConnError of ErrClosed", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}
