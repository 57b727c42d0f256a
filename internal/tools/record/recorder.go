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
	against *recorded.Session // nil: nothing is compared
	cases   []recorded.Case
	sent    int
	unlike  int
}

func (r *recorder) record(ctx context.Context, file string) error {
	definition := r.doc.definition(r.session.Resource.APIVersion, r.session.Resource.Kind)
	if definition == "" {
		return fmt.Errorf("there is no schema of it")
	}
	for base := range r.session.Resource.Bases {
		for _, update := range []bool{false, true} {
			if err := r.group(ctx, definition, base, update); err != nil {
				return err
			}
		}
	}
	log.Printf("%s: %d cases of %d; %d answered otherwise", r.session.Resource.Plural, len(r.cases), r.sent, r.unlike)
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

func (r *recorder) both() []*recorded.Session {
	if r.against == nil {
		return []*recorded.Session{r.session}
	}
	return []*recorded.Session{r.session, r.against}
}

// group records the creates of one base, or its updates.
func (r *recorder) group(ctx context.Context, definition string, base int, update bool) error {
	if update {
		for _, s := range r.both() {
			if err := s.Begin(ctx, base); err != nil {
				return err
			}
			defer func() {
				if err := s.End(ctx, base); err != nil {
					log.Print(err)
				}
			}()
		}
	}
	first := recorded.Case{Base: base, Update: update}
	whole, like, err := r.ask(ctx, &first)
	if err != nil {
		return err
	}
	if whole.Code >= http.StatusMultipleChoices {
		// what the server adds to some kinds may not be taken away again
		if update {
			return nil
		}
		return fmt.Errorf("base %d is refused: %s %q", base, whole.Message, whole.Causes)
	}
	if !like {
		return nil // each change would only show the same difference
	}
	first.Answer = whole
	r.cases = append(r.cases, first)
	seen := map[string]bool{}
	changes := &changes{doc: r.doc, resource: r.session.Resource}
	for _, c := range changes.of(definition, r.session.Resource.Bases[base], base > 0 || update) {
		c.Base, c.Update = base, update
		a, like, err := r.ask(ctx, &c)
		if err != nil {
			return err
		}
		if c.Answer, err = a.Shorten(whole.Stored); err != nil {
			return err
		}
		if s := signature(&c); like && !seen[s] {
			seen[s] = true
			r.cases = append(r.cases, c)
		}
	}
	return nil
}

// ask returns the whole answer to a case, and whether the other server answers like it.
func (r *recorder) ask(ctx context.Context, c *recorded.Case) (recorded.Answer, bool, error) {
	r.sent++
	a, err := r.session.Ask(ctx, c)
	if err != nil || r.against == nil {
		return a, true, err
	}
	other, err := r.against.Ask(ctx, c)
	if err != nil {
		return a, false, err
	}
	differences := a.Differences(other, nil)
	if len(differences) == 0 {
		return a, true, nil
	}
	r.unlike++
	for i, d := range differences {
		if i < 4 {
			fmt.Printf("%s %s: %s\n", r.session.Resource.Plural, c, d)
		}
	}
	return a, false, nil
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
