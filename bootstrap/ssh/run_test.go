package ssh

import (
	"bytes"
	"strings"
	"testing"
)

func TestPIDWriter(t *testing.T) {
	const whole = "sudo: unable to resolve host\nfairlead-pid-ab 42\nreal error\nand more"
	const want = "sudo: unable to resolve host\nreal error\nand more"
	for size := 1; size <= len(whole); size++ {
		var out bytes.Buffer
		p := &pidWriter{marker: "fairlead-pid-ab ", w: &out, known: make(chan int, 1)}
		for rest := whole; rest != ""; {
			n := min(size, len(rest))
			if _, err := p.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		p.flush()
		if out.String() != want || <-p.known != 42 {
			t.Fatalf("in pieces of %d: %q", size, out.String())
		}
	}
}

func TestPIDWriterWithoutMarker(t *testing.T) {
	var out bytes.Buffer
	p := &pidWriter{marker: "m ", w: &out, known: make(chan int, 1)}
	_, _ = p.Write([]byte("sudo: not found\nm x"))
	p.flush()
	if out.String() != "sudo: not found\nm x" || p.seen {
		t.Errorf("got %q, %v", out.String(), p.seen)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("it's")
	f.Add("$(x) `y` \"z\" \\ \n")
	c := Local(false, nil)
	f.Cleanup(func() { _ = c.Close() })
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			return // no argument can have it
		}
		out, err := c.Run(t.Context(), Command{Line: "printf %s " + Quote(s)})
		if err != nil || string(out.Stdout) != s {
			t.Fatalf("%q became %q, %v", s, out.Stdout, err)
		}
	})
}
