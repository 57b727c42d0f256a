package main

import "testing"

func TestParagraphs(t *testing.T) {
	const comment = "It is one\nof these:\n\n1) a list:\n   - of\n   - lines\nor none.\n+optional\n---\nnot for users"
	if got, want := paragraphs(comment), "It is one of these:\n\n1) a list:\n   - of\n   - lines\nor none."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
