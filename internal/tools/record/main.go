// Command record writes down how a server answers to changed objects. Given a kube-apiserver without controllers, it makes the
// recording that the API server's tests replay:
//
//	go run ./internal/tools/record -kubeconfig FILE -to controlplane/api/testdata/recorded
//
// The bases, valid objects of each resource, are read from bases.yaml in that folder. Of the changes to a field, those are
// kept that are answered differently from each other.
//
// With -against FILE, the same is sent to another server too; cases that it answers otherwise are printed and left out.
//
// With -openapi DIR and -against, it records nothing of the above but the OpenAPI documents of what both serve:
//
//	go run ./internal/tools/record -kubeconfig FILE -against FILE -openapi controlplane/api/testdata/openapi
//
// With -columns FILE, it records the columns of every resource's table:
//
//	go run ./internal/tools/record -kubeconfig FILE -columns controlplane/api/testdata/columns.json
//
// With -impersonations FILE, it sends what that file has as somebody else, and writes the answers there:
//
//	go run ./internal/tools/record -kubeconfig FILE -impersonations controlplane/api/testdata/impersonations.yaml
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "of an administrator of the server")
	to := flag.String("to", "", "folder of the recording, which has bases.yaml")
	against := flag.String("against", "", "kubeconfig of another server to compare with")
	only := flag.String("only", "", "regular expression for GROUP/VERSION/PLURAL")
	openapi := flag.String("openapi", "", "folder of the recording of OpenAPI documents, which has definitions.json.gz")
	columns := flag.String("columns", "", "file for the columns of tables")
	impersonations := flag.String("impersonations", "", "file of requests as somebody else, for their answers")
	flag.Parse()
	if *impersonations != "" {
		if err := recordImpersonations(context.Background(), *kubeconfig, *impersonations); err != nil {
			log.Fatal(err)
		}
		return
	}
	if *columns != "" {
		if err := recordColumns(context.Background(), *kubeconfig, *columns); err != nil {
			log.Fatal(err)
		}
		return
	}
	if *openapi != "" {
		if err := recordOpenAPI(context.Background(), *kubeconfig, *against, *openapi); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := record(context.Background(), *kubeconfig, *against, *to, regexp.MustCompile(*only)); err != nil {
		log.Fatal(err)
	}
}

// connect returns a client and the address of a server, with the recording's namespace.
func connect(ctx context.Context, kubeconfig string) (*http.Client, string, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, "", err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, "", err
	}
	server := strings.TrimSuffix(config.Host, "/")
	return client, server, recorded.Prepare(ctx, client, server)
}

func record(ctx context.Context, kubeconfig, against, to string, only *regexp.Regexp) error {
	client, server, err := connect(ctx, kubeconfig)
	if err != nil {
		return err
	}
	var other *http.Client
	var otherServer string
	if against != "" {
		if other, otherServer, err = connect(ctx, against); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(filepath.Join(to, "bases.yaml"))
	if err != nil {
		return err
	}
	bases := map[string][]map[string]any{}
	if err := yaml.Unmarshal(data, &bases); err != nil {
		return err
	}
	var doc document
	if err := get(ctx, client, server+"/openapi/v2", &doc); err != nil {
		return err
	}
	names := make([]string, 0, len(bases))
	for name := range bases {
		if only.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		r, err := resource(ctx, client, server, name, bases[name])
		if err != nil {
			return err
		}
		rec := &recorder{doc: &doc, session: &recorded.Session{Client: client, Server: server, Resource: r}}
		if other != nil {
			rec.against = &recorded.Session{Client: other, Server: otherServer, Resource: r}
		}
		if err := rec.record(ctx, filepath.Join(to, strings.ReplaceAll(name, "/", "_")+".jsonl.gz")); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func get(ctx context.Context, c *http.Client, url string, into any) error {
	return getAs(ctx, c, url, "application/json", into)
}

func getAs(ctx context.Context, c *http.Client, url, accept string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", accept)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// resource looks up GROUP/VERSION/PLURAL, or VERSION/PLURAL of the core.
func resource(ctx context.Context, c *http.Client, server, name string, bases []map[string]any) (*recorded.Resource, error) {
	i := strings.LastIndex(name, "/")
	r := &recorded.Resource{APIVersion: name[:i], Plural: name[i+1:], Bases: bases}
	var list metav1.APIResourceList
	if err := get(ctx, c, server+strings.TrimSuffix(r.Path(), "/"+r.Plural), &list); err != nil {
		return nil, err
	}
	for _, e := range list.APIResources {
		if e.Name == r.Plural {
			r.Kind, r.Namespaced = e.Kind, e.Namespaced
		}
	}
	if r.Kind == "" {
		return nil, fmt.Errorf("the server has no %s", name)
	}
	for i, b := range bases {
		b["apiVersion"], b["kind"] = r.APIVersion, r.Kind
		// one that is still being deleted is not in the way of the next
		recorded.Put(b, []string{"metadata", "name"}, fmt.Sprintf("sample-%d", i), false)
		if r.Kind == "CustomResourceDefinition" {
			recorded.Put(b, []string{"metadata", "name"}, "samples.example.com", false)
		}
	}
	return r, nil
}
