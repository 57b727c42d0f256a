package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// modelPrefix begins the names of the types that every group shares.
const modelPrefix = "io.k8s.apimachinery.pkg.apis.meta.v1."

// recordOpenAPI writes a kube-apiserver's OpenAPI documents, without descriptions and without what the server of the other
// kubeconfig does not serve, to documents.json.gz in the folder to. Both servers first get the definitions that
// definitions.json.gz has, since custom resources have documents too.
func recordOpenAPI(ctx context.Context, kubeconfig, against, to string) error {
	client, server, err := connect(ctx, kubeconfig)
	if err != nil {
		return err
	}
	ours, ourServer, err := connect(ctx, against)
	if err != nil {
		return err
	}
	var definitions []map[string]any
	if err := readZipped(filepath.Join(to, "definitions.json.gz"), &definitions); err != nil {
		return err
	}
	for _, d := range definitions {
		if err := errors.Join(define(ctx, client, server, d), define(ctx, ours, ourServer, d)); err != nil {
			return err
		}
	}
	var index struct{ Paths map[string]any }
	if err := get(ctx, ours, ourServer+"/openapi/v3", &index); err != nil {
		return err
	}
	paths := []string{"/openapi/v2"}
	for gv := range index.Paths {
		paths = append(paths, "/openapi/v3/"+gv)
	}
	out := map[string]map[string]any{}
	for _, path := range paths {
		if strings.Contains(path, "v1beta1") {
			continue // of ours, for old clients
		}
		var theirs, served map[string]any
		if err := errors.Join(get(ctx, client, server+path, &theirs), get(ctx, ours, ourServer+path, &served)); err != nil {
			return err
		}
		keep(theirs, served, "paths")
		keep(theirs, served, "definitions")
		keep(part(theirs, "components"), part(served, "components"), "schemas")
		for _, name := range []string{"DeleteOptions", "WatchEvent"} { // their lists name the groups that are served
			for _, at := range [][]string{{"definitions"}, {"components", "schemas"}} {
				const key = "x-kubernetes-group-version-kind"
				model := append(at, modelPrefix+name)
				if their, our := part(theirs, model...), part(served, model...); their != nil && our != nil {
					their[key] = our[key]
				}
			}
		}
		recorded.Undescribed(theirs)
		out[path] = theirs
	}
	return writeZipped(filepath.Join(to, "documents.json.gz"), out)
}

// define creates a definition that is not there, and waits until what it defines has its document.
func define(ctx context.Context, c *http.Client, server string, d map[string]any) error {
	a, err := recorded.Ask(ctx, c, http.MethodPost, server+"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", d)
	if err != nil {
		return err
	}
	if a.Code != http.StatusCreated && a.Code != http.StatusConflict {
		return fmt.Errorf("cannot create definition: %d %s", a.Code, a.Message)
	}
	spec := part(d, "spec")
	for _, v := range spec["versions"].([]any) {
		path := fmt.Sprintf("/openapi/v3/apis/%s/%s", spec["group"], v.(map[string]any)["name"])
		var document map[string]any
		err := get(ctx, c, server+path, &document)
		for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); err = get(ctx, c, server+path, &document) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// part is an object inside of a document, or nil.
func part(doc map[string]any, path ...string) map[string]any {
	for _, name := range path {
		doc, _ = doc[name].(map[string]any)
	}
	return doc
}

// keep leaves of one part of a document what another document has as well.
func keep(doc, other map[string]any, name string) {
	have := part(other, name)
	for key := range part(doc, name) {
		if _, ok := have[key]; !ok {
			delete(part(doc, name), key)
		}
	}
}

func readZipped(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return json.NewDecoder(r).Decode(into)
}

func writeZipped(path string, v any) error {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewEncoder(w).Encode(v), w.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
