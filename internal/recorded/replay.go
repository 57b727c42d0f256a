package recorded

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Session writes the cases of one resource to a server.
type Session struct {
	Client   *http.Client
	Server   string // https://HOST:PORT
	Resource *Resource

	version string // of the base that there is
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

// deletion is how long an object of the same name may take to go.
const deletion = 10 * time.Second

// Begin creates a base, for cases that update it.
func (s *Session) Begin(ctx context.Context, base int) error {
	a, err := Ask(ctx, s.Client, http.MethodPost, s.Server+s.Resource.Path(), s.Resource.Bases[base])
	for end := time.Now().Add(deletion); err == nil && a.Code == http.StatusConflict && time.Now().Before(end); {
		a, err = Ask(ctx, s.Client, http.MethodPost, s.Server+s.Resource.Path(), s.Resource.Bases[base])
	}
	if err == nil && a.Code != http.StatusCreated {
		err = fmt.Errorf("cannot create base %d of %s: %d %s%q", base, s.Resource.Plural, a.Code, a.Message, a.Causes)
	}
	if err == nil {
		err = s.see(ctx, base)
	}
	return err
}

// see finds out the version of a base that there is.
func (s *Session) see(ctx context.Context, base int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.object(base), nil)
	if err != nil {
		return err
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var o metav1.PartialObjectMetadata
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil {
		return err
	}
	s.version = o.ResourceVersion
	return nil
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
	if !c.Update {
		return Ask(ctx, s.Client, http.MethodPost, s.Server+s.Resource.Path()+"?dryRun=All", body)
	}
	for {
		Put(body, []string{"metadata", "resourceVersion"}, s.version, false)
		a, err := Ask(ctx, s.Client, http.MethodPut, s.object(c.Base)+"?dryRun=All", body)
		if err != nil || a.Code != http.StatusConflict {
			return a, err
		}
		had := s.version // a controller may have written its status meanwhile
		if err := s.see(ctx, c.Base); err != nil || s.version == had {
			return a, err
		}
	}
}
