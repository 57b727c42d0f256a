package recorded

import (
	"context"
	"fmt"
	"net/http"
)

// Session writes the cases of one resource to a server.
type Session struct {
	Client   *http.Client
	Server   string // https://HOST:PORT
	Resource *Resource
}

// Prepare makes the namespace and its service account.
func Prepare(ctx context.Context, c *http.Client, server string) error {
	for _, step := range []struct {
		path, name string
	}{{"/api/v1/namespaces", Namespace}, {"/api/v1/namespaces/" + Namespace + "/serviceaccounts", "default"}} {
		a, err := Ask(ctx, c, http.MethodPost, server+step.path, map[string]any{"metadata": map[string]any{"name": step.name}})
		if err != nil {
			return err
		}
		if a.Code != http.StatusCreated && a.Code != http.StatusConflict {
			return fmt.Errorf("cannot create %s: %d %s", step.name, a.Code, a.Message)
		}
	}
	return nil
}

// Begin creates a base, for cases that update it.
func (s *Session) Begin(ctx context.Context, base int) error {
	a, err := Ask(ctx, s.Client, http.MethodPost, s.Server+s.Resource.Path(), s.Resource.Bases[base])
	if err == nil && a.Code != http.StatusCreated {
		err = fmt.Errorf("cannot create base %d of %s: %d %s%q", base, s.Resource.Plural, a.Code, a.Message, a.Causes)
	}
	return err
}

// End deletes what Begin created.
func (s *Session) End(ctx context.Context, base int) error {
	a, err := Ask(ctx, s.Client, http.MethodDelete, s.object(base), map[string]any{"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
	if err == nil && a.Code >= http.StatusMultipleChoices {
		err = fmt.Errorf("cannot delete base %d of %s: %d %s", base, s.Resource.Plural, a.Code, a.Message)
	}
	return err
}

func (s *Session) object(base int) string {
	meta := s.Resource.Bases[base]["metadata"].(map[string]any)
	return s.Server + s.Resource.Path() + "/" + meta["name"].(string)
}

// Ask sends a case as a dry run, and returns the whole answer.
func (s *Session) Ask(ctx context.Context, c *Case) (Answer, error) {
	body, err := c.Body(s.Resource)
	if err != nil {
		return Answer{}, err
	}
	method, url := http.MethodPost, s.Server+s.Resource.Path()
	if c.Update {
		method, url = http.MethodPut, s.object(c.Base)
	}
	return Ask(ctx, s.Client, method, url+"?dryRun=All", body)
}
