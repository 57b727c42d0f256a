package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
)

// recordColumns writes the columns of the tables of every resource that can be listed, by GROUP/VERSION/PLURAL.
func recordColumns(ctx context.Context, kubeconfig, to string) error {
	client, server, err := connect(ctx, kubeconfig)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	all := map[string][]metav1.TableColumnDefinition{}
	for _, list := range lists {
		root := "/apis/"
		if !strings.Contains(list.GroupVersion, "/") {
			root = "/api/"
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") {
				continue
			}
			var table metav1.Table
			if err := getAs(ctx, client, server+root+list.GroupVersion+"/"+r.Name+"?limit=1", "application/json;as=Table;v=v1;g=meta.k8s.io", &table); err != nil {
				return err
			}
			all[list.GroupVersion+"/"+r.Name] = table.ColumnDefinitions
		}
	}
	var out bytes.Buffer // a line each, so that changes can be read
	sep := "{\n"
	for _, name := range sortedKeys(all) {
		line, err := json.Marshal(all[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s%q: %s", sep, name, line)
		sep = ",\n"
	}
	out.WriteString("\n}\n")
	return os.WriteFile(to, out.Bytes(), 0o644)
}
