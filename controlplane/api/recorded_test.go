package api_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// wholeRecording takes a dozen seconds, and minutes with the race detector: without it every eighth case is replayed.
var wholeRecording = flag.Bool("recording", false, "replay the whole recording of kube-apiserver, not a part of it")

// TestRecorded writes what was written to a kube-apiserver, and compares the answers: what is refused and for which fields,
// what is stored with which defaults and managed fields, and what is warned of.
func TestRecorded(t *testing.T) {
	e := apitest.Start(t, apitest.Options{})
	c, err := rest.HTTPClientFor(e.Admin())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	if err := recorded.Prepare(t.Context(), c, e.Address); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/recorded/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
		t.Run(name, func(t *testing.T) { replay(t, c, e.Address, file) })
	}
}

func replay(t *testing.T, c *http.Client, server, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	resource, cases, err := recorded.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &recorded.Session{Client: c, Server: server, Resource: resource}
	var whole json.RawMessage // what Kubernetes answered to the base as it is
	begun := -1               // the base that there is
	end := func() {
		if begun >= 0 {
			if err := s.End(t.Context(), begun); err != nil {
				t.Error(err)
			}
			begun = -1
		}
	}
	defer end()
	shown := 0
	for i := range cases {
		cs := &cases[i]
		if cs.At != "" && i%8 > 0 && !*wholeRecording {
			continue
		}
		if cs.At == "" {
			end()
			whole = nil
			if cs.Update {
				if err := s.Begin(t.Context(), cs.Base); err != nil {
					t.Fatal(err)
				}
				begun = cs.Base
			}
		}
		got, err := s.Ask(t.Context(), cs)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range cs.Answer.Differences(got, whole) {
			if shown++; shown <= 20 {
				t.Errorf("%s: %s", cs, d)
			}
		}
		if cs.At == "" {
			whole = cs.Answer.Stored
		}
	}
	if shown > 20 {
		t.Errorf("and %d more", shown-20)
	}
}
