// Package recorded compares a server's answers to writes with those that kube-apiserver gave to the same ones.
//
// A recording has a compressed file for each resource, of lines of JSON: first its Resource, with a few valid objects, then Cases, each
// of which changes one field of one of them. The command internal/tools/record makes them; tests replay them.
package recorded

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Namespace is where objects are written, if their kind has namespaces. It has the service account default.
const Namespace = "recorded"

// Resource is what the cases of a file are about.
type Resource struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Plural     string           `json:"plural"`
	Namespaced bool             `json:"namespaced,omitempty"`
	Bases      []map[string]any `json:"bases"` // with apiVersion, kind and metadata.name
}

// Path is that of the resource's collection.
func (r *Resource) Path() string {
	path := "/apis/" + r.APIVersion
	if !strings.Contains(r.APIVersion, "/") {
		path = "/api/" + r.APIVersion
	}
	if r.Namespaced {
		path += "/namespaces/" + Namespace
	}
	return path + "/" + r.Plural
}

// Case is a write and its answer.
type Case struct {
	Base   int  `json:"base,omitempty"`   // which of the resource's bases is changed
	Update bool `json:"update,omitempty"` // the write replaces the base; otherwise it creates the object
	// At is the changed field, its names joined by dots; empty means that nothing is changed. A list is changed as a whole.
	At     string          `json:"at,omitempty"`
	Value  json.RawMessage `json:"value,omitempty"` // absent: the field is removed
	Answer Answer          `json:"answer"`
}

// Body is what the case writes.
func (c *Case) Body(r *Resource) (map[string]any, error) {
	body := clone(r.Bases[c.Base]).(map[string]any)
	if c.At == "" {
		return body, nil
	}
	var value any
	if c.Value != nil {
		if err := json.Unmarshal(c.Value, &value); err != nil {
			return nil, err
		}
	}
	Put(body, strings.Split(c.At, "."), value, c.Value == nil)
	return body, nil
}

func (c *Case) String() string {
	verb := "create"
	if c.Update {
		verb = "update"
	}
	value := string(c.Value)
	if c.Value == nil {
		value = "(absent)"
	}
	return fmt.Sprintf("%s of base %d with %s = %.300s", verb, c.Base, c.At, value)
}

// Put sets or removes the field at path in o, and makes the objects on the way.
func Put(o map[string]any, path []string, value any, remove bool) {
	for _, name := range path[:len(path)-1] {
		next, ok := o[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			o[name] = next
		}
		o = next
	}
	if last := path[len(path)-1]; remove {
		delete(o, last)
	} else {
		o[last] = value
	}
}

// clone copies what JSON decodes to.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// Read reads a file of a recording.
func Read(from io.Reader) (*Resource, []Case, error) {
	plain, err := gzip.NewReader(from)
	if err != nil {
		return nil, nil, err
	}
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 16<<20)
	r := &Resource{}
	var cases []Case
	for n := 0; lines.Scan(); n++ {
		var err error
		if n == 0 {
			err = json.Unmarshal(lines.Bytes(), r)
		} else {
			var c Case
			err = json.Unmarshal(lines.Bytes(), &c)
			cases = append(cases, c)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return r, cases, lines.Err()
}

// Write writes a file of a recording.
func Write(to io.Writer, r *Resource, cases []Case) error {
	packed := gzip.NewWriter(to)
	e := json.NewEncoder(packed)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return err
	}
	for i := range cases {
		if err := e.Encode(&cases[i]); err != nil {
			return err
		}
	}
	return packed.Close()
}
