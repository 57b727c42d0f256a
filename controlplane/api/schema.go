package api

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Schema returns the schema of a kind as OpenAPI of version 3 has it, with what it refers to in the places of the
// references; nil when the kind is neither served nor asked with.
func (s *Server) Schema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	d := newDocument(s.openapi.merge(), schemaPrefix, true)
	var root node
	if k := s.kinds.ByKind(gvk); k != nil {
		root, _ = d.kindRefs(k)
	} else if v := virtualOf(gvk); v != nil {
		root = d.ref(v.body)
	} else {
		return nil, nil
	}
	var failed error
	read := map[string]*spec.Schema{}
	out, err := resolver.PopulateRefs(func(ref string) (*spec.Schema, bool) {
		if had, ok := read[ref]; ok {
			return had, true
		}
		definition, ok := d.definitions[strings.TrimPrefix(ref, schemaPrefix)]
		if !ok {
			return nil, false
		}
		read[ref], failed = readSchema(definition)
		return read[ref], failed == nil
	}, root["$ref"].(string))
	if failed != nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make schema of %s: %w", gvk, err)
	}
	return out, nil
}

func readSchema(definition any) (*spec.Schema, error) {
	data, err := json.Marshal(definition)
	if err != nil {
		return nil, err
	}
	s := &spec.Schema{}
	return s, json.Unmarshal(data, s)
}
