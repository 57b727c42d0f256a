package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// recorder records the cases of one resource.
type recorder struct {
	doc     *document
	session *recorded.Session
	cases   []recorded.Case
}

func recordResource(ctx context.Context, r *recorder, file string) error {
	definition := r.doc.definition(r.session.Resource.APIVersion, r.session.Resource.Kind)
	if definition == "" {
		return fmt.Errorf("there is no schema of it")
	}
	sent := 0
	for base := range r.session.Resource.Bases {
		for _, update := range []bool{false, true} {
			n, err := r.group(ctx, definition, base, update)
			if err != nil {
				return err
			}
			sent += n
		}
	}
	log.Printf("%s: %d of %d cases", r.session.Resource.Plural, len(r.cases), sent)
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := recorded.Write(f, r.session.Resource, r.cases); err != nil {
		return err
	}
	return f.Close()
}

// group records the creates of one base, or its updates.
func (r *recorder) group(ctx context.Context, definition string, base int, update bool) (int, error) {
	if update {
		if err := r.session.Begin(ctx, base); err != nil {
			return 0, err
		}
		defer func() {
			if err := r.session.End(ctx, base); err != nil {
				log.Print(err)
			}
		}()
	}
	first := recorded.Case{Base: base, Update: update}
	whole, err := r.session.Ask(ctx, &first)
	if err != nil {
		return 0, err
	}
	if whole.Code >= http.StatusMultipleChoices {
		return 0, fmt.Errorf("base %d is refused: %s %q", base, whole.Message, whole.Causes)
	}
	first.Answer = whole
	r.cases = append(r.cases, first)
	seen := map[string]bool{}
	sent := 1
	changes := &changes{doc: r.doc, resource: r.session.Resource}
	for _, c := range changes.of(definition, r.session.Resource.Bases[base], base > 0 || update) {
		c.Base, c.Update = base, update
		a, err := r.session.Ask(ctx, &c)
		if err != nil {
			return sent, err
		}
		sent++
		if c.Answer, err = a.Shorten(whole.Stored); err != nil {
			return sent, err
		}
		if s := signature(&c); !seen[s] {
			seen[s] = true
			r.cases = append(r.cases, c)
		}
	}
	return sent, nil
}

// signature is equal for cases of which one is enough: changes of one field that are refused for the same fields, or
// accepted alike.
func signature(c *recorded.Case) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s %q", c.At, c.Answer.Code, c.Answer.Reason, c.Answer.Warnings)
	for _, cause := range c.Answer.Causes {
		fmt.Fprintf(&b, " %s %s", cause[0], cause[1])
	}
	if c.Answer.Stored != nil {
		var stored any
		if json.Unmarshal(c.Answer.Stored, &stored) == nil {
			fields(&b, stored)
		}
	}
	return b.String()
}

// fields writes the names in an object, without its values.
func fields(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			b.WriteString("." + k)
			fields(b, v[k])
		}
	case []any:
		fmt.Fprintf(b, "[%d]", len(v))
		for _, e := range v {
			fields(b, e)
		}
	}
}
