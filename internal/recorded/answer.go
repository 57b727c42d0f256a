package recorded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Answer is what a server says to a write, without what differs from one time to the next.
type Answer struct {
	Code     int      `json:"code"`
	Warnings []string `json:"warnings,omitempty"`
	// Of a refusal. Message is empty where the causes say it all.
	Reason  string  `json:"reason,omitempty"`
	Message string  `json:"message,omitempty"`
	Causes  []Cause `json:"causes,omitempty"`
	// Of a success: the object, as a merge patch of what is answered to the base as it is.
	Stored json.RawMessage `json:"stored,omitempty"`
}

// Cause is one field that a write is refused for: type, field, message.
type Cause [3]string

// Ask sends a write, and returns the answer to it with the whole object in Stored.
func Ask(ctx context.Context, c *http.Client, method, url string, body any) (Answer, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "recorded")
	resp, err := c.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(resp.Body); err != nil {
		return Answer{}, err
	}
	a := Answer{Code: resp.StatusCode, Warnings: resp.Header.Values("Warning")}
	if a.Code < http.StatusMultipleChoices {
		a.Stored = normal(data)
		return a, nil
	}
	var st metav1.Status
	if err := json.Unmarshal(data, &st); err != nil {
		return a, fmt.Errorf("%d: %s: %w", a.Code, data, err)
	}
	a.Reason = string(st.Reason)
	if st.Details != nil {
		for _, cause := range st.Details.Causes {
			a.Causes = append(a.Causes, Cause{string(cause.Type), cause.Field, string(normal([]byte(cause.Message)))})
		}
	}
	if len(a.Causes) == 0 {
		a.Message = string(normal([]byte(st.Message)))
	}
	return a, nil
}

// varying is what two answers to the same write differ in.
var varying = []struct {
	pattern *regexp.Regexp
	normal  string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`2[01][0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z`), "TIME"},
	{regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`), "kube-api-access-X"},
	{regexp.MustCompile(`"resourceVersion":"[0-9]+"`), `"resourceVersion":"RV"`},
	{regexp.MustCompile(`"(nodePort|healthCheckNodePort)":3[0-2][0-9]{3}\b`), `"$1":"PORT"`},
	{regexp.MustCompile(`"clusterIP":"10\.[0-9.]+"`), `"clusterIP":"IP"`},
	{regexp.MustCompile(`"clusterIPs":\["10\.[0-9.]+"\]`), `"clusterIPs":["IP"]`},
}

func normal(data []byte) []byte {
	for _, v := range varying {
		data = v.pattern.ReplaceAll(data, []byte(v.normal))
	}
	return bytes.TrimSpace(data)
}

// Shorten returns the answer with Stored as a merge patch of base, the whole object that is answered to the base.
func (a Answer) Shorten(base json.RawMessage) (Answer, error) {
	if a.Stored == nil || base == nil {
		return a, nil
	}
	patch, err := jsonpatch.CreateMergePatch(base, a.Stored)
	if err != nil {
		return a, err
	}
	a.Stored = patch
	return a, nil
}

// Differences says in what other, a whole answer, is not as a, a short one. base is as in Shorten.
func (a Answer) Differences(other Answer, base json.RawMessage) []string {
	var out []string
	differ := func(what string, want, got any) {
		if !reflect.DeepEqual(want, got) {
			out = append(out, fmt.Sprintf("%s: want %v, got %v", what, want, got))
		}
	}
	differ("code", a.Code, other.Code)
	differ("reason", a.Reason, other.Reason)
	differ("message", a.Message, other.Message)
	differ("warnings", sorted(a.Warnings), sorted(other.Warnings))
	for _, c := range a.Causes {
		if !slices.Contains(other.Causes, c) {
			out = append(out, fmt.Sprintf("lacks cause %q", c))
		}
	}
	for _, c := range other.Causes {
		if !slices.Contains(a.Causes, c) {
			out = append(out, fmt.Sprintf("has cause %q", c))
		}
	}
	if a.Stored == nil || other.Stored == nil {
		return out
	}
	want := a.Stored
	if base != nil {
		var err error
		if want, err = jsonpatch.MergePatch(base, a.Stored); err != nil {
			return append(out, err.Error())
		}
	}
	var w, g any
	if err := errors.Join(json.Unmarshal(want, &w), json.Unmarshal(other.Stored, &g)); err != nil {
		return append(out, err.Error())
	}
	return append(out, unequal("", withoutNull(w), withoutNull(g))...)
}

// withoutNull drops fields that are null, which a merge patch can not set and to a client is the same as absent.
func withoutNull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
			} else {
				v[k] = withoutNull(e)
			}
		}
	case []any:
		for i, e := range v {
			v[i] = withoutNull(e)
		}
	}
	return v
}

func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}

// unequal names the fields in which two objects differ. Managed fields have no order.
func unequal(path string, want, got any) []string {
	w, ok1 := want.(map[string]any)
	g, ok2 := got.(map[string]any)
	if ok1 && ok2 {
		var out []string
		for k := range w {
			if _, ok := g[k]; !ok {
				out = append(out, fmt.Sprintf("%s.%s: want %s, got nothing", path, k, text(w[k])))
				continue
			}
			out = append(out, unequal(path+"."+k, w[k], g[k])...)
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				out = append(out, fmt.Sprintf("%s.%s: want nothing, got %s", path, k, text(g[k])))
			}
		}
		slices.Sort(out)
		return out
	}
	wl, ok1 := want.([]any)
	gl, ok2 := got.([]any)
	if ok1 && ok2 && len(wl) == len(gl) {
		var out []string
		for i := range wl {
			out = append(out, unequal(fmt.Sprintf("%s[%d]", path, i), wl[i], gl[i])...)
		}
		return out
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	return []string{fmt.Sprintf("%s: want %s, got %s", path, text(want), text(got))}
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("%.200s", data))
}
