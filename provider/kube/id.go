package kube

import (
	"errors"
	"fmt"
	"strings"
)

// identity says which object of a kind a resource is.
type identity struct {
	cluster, namespace, name string
}

// String returns the id: [CLUSTER/]NAMESPACE/NAME, without the namespace for a kind that has none.
func (id identity) String() string {
	parts := []string{id.name}
	if id.namespace != "" {
		parts = []string{id.namespace, id.name}
	}
	if id.cluster != "" {
		parts = append([]string{id.cluster}, parts...)
	}
	return strings.Join(parts, "/")
}

// parseIdentity reads an id. A cluster's id may have slashes of its own, a name and a namespace have none.
func parseIdentity(text string, namespaced bool) (identity, error) {
	form, wanted := "[CLUSTER/]NAME", 1
	if namespaced {
		form, wanted = "[CLUSTER/]NAMESPACE/NAME", 2
	}
	parts := strings.Split(text, "/")
	for _, part := range parts[max(0, len(parts)-wanted):] {
		if part == "" || strings.Contains(part, "@") { // with an @ it is a cluster's id, and the name is missing
			return identity{}, fmt.Errorf("cannot read id %q: want %s", text, form)
		}
	}
	if len(parts) < wanted {
		return identity{}, fmt.Errorf("cannot read id %q: want %s", text, form)
	}
	at := len(parts) - wanted
	id := identity{cluster: strings.Join(parts[:at], "/"), name: parts[len(parts)-1]}
	if namespaced {
		id.namespace = parts[at]
	}
	return id, nil
}

// identityOf reads the identity of a known state or plan.
func identityOf(value View) (identity, error) {
	var id identity
	var ok bool
	if value.At(attrCluster).Unknown() {
		return id, errors.New("cannot name the object: its cluster is not known")
	}
	id.cluster, _ = value.At(attrCluster).Text()
	id.namespace, _ = value.At("metadata.namespace").Text()
	if id.name, ok = value.At("metadata.name").Text(); !ok {
		return id, errors.New("cannot name the object: its name is not known")
	}
	return id, nil
}

// local names the object inside its cluster, for people.
func (id identity) local() string {
	id.cluster = ""
	return id.String()
}
