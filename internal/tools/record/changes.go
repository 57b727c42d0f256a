package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// document is what of an OpenAPI v2 document says which fields there are.
type document struct {
	Definitions map[string]*schema `json:"definitions"`
}

type schema struct {
	Ref        string             `json:"$ref"`
	AllOf      []schema           `json:"allOf"`
	Type       string             `json:"type"`
	Format     string             `json:"format"`
	Enum       []string           `json:"enum"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
	Values     *schema            `json:"additionalProperties"`
	Kinds      []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

// to is the name of the definition that a schema refers to, if any.
func (s *schema) to() string {
	ref := s.Ref
	for i := range s.AllOf {
		ref += s.AllOf[i].Ref
	}
	return strings.TrimPrefix(ref, "#/definitions/")
}

func (d *document) definition(apiVersion, kind string) string {
	for name, s := range d.Definitions {
		if len(s.Kinds) != 1 || s.Kinds[0].Kind != kind {
			continue
		}
		if strings.TrimPrefix(s.Kinds[0].Group+"/"+s.Kinds[0].Version, "/") == apiVersion {
			return name
		}
	}
	return ""
}

// changes makes cases of a base.
type changes struct {
	doc      *document
	resource *recorded.Resource
	out      []recorded.Case
}

// deepest is how many levels of fields are changed.
const deepest = 12

func (c *changes) of(definition string, base map[string]any, noMeta bool) []recorded.Case {
	c.walk(definition, base, func(at []string, value any, remove bool) {
		if at[0] == "metadata" && (noMeta || c.resource.Plural != "configmaps") || at[0] == "apiVersion" || at[0] == "kind" || at[0] == "status" {
			return
		}
		next := recorded.Case{At: strings.Join(at, ".")}
		if !remove {
			data, err := json.Marshal(value)
			if err != nil {
				panic(err) // of values made here
			}
			next.Value = data
		}
		c.out = append(c.out, next)
	}, nil, 0)
	return c.out
}

type emit func(at []string, value any, remove bool)

// walk emits changes of every field that definition has. value is what the base has there. Inside a list, all of it is emitted.
func (c *changes) walk(definition string, value map[string]any, to emit, inside []string, depth int) {
	s := c.doc.Definitions[definition]
	for _, name := range sortedKeys(s.Properties) {
		if c.skip(definition, name, depth) {
			continue
		}
		field := s.Properties[name]
		at := []string{name}
		for _, v := range c.candidates(name, field) {
			to(at, v, false)
		}
		to(at, nil, true)
		if depth == deepest {
			continue
		}
		ref := field.to()
		if field.Type == "array" {
			ref = field.Items.to()
		}
		if ref == "" {
			if field.Type == "array" && field.Items.Type == "string" {
				for _, v := range c.candidates(name, field.Items) {
					to(at, []any{v}, false)
				}
			}
			continue
		}
		if len(c.doc.Definitions[ref].Properties) == 0 || slices.Contains(inside, ref) {
			continue
		}
		var rest []any
		below, _ := value[name].(map[string]any)
		if field.Type == "array" {
			if list, ok := value[name].([]any); ok && len(list) > 0 {
				below, _ = list[0].(map[string]any)
				rest = list[1:]
			}
		}
		if len(below) == 0 {
			below, _ = c.minimal(ref, 0).(map[string]any)
		}
		c.walk(ref, below, func(path []string, v any, remove bool) {
			if field.Type != "array" && value[name] != nil {
				to(append([]string{name}, path...), v, remove)
				return
			}
			changed := copied(below)
			recorded.Put(changed, path, v, remove)
			if field.Type == "array" {
				to(at, append([]any{changed}, rest...), false)
			} else {
				to(at, changed, false)
			}
		}, append(slices.Clone(inside), ref), depth+1)
	}
}

// skip leaves out what is changed elsewhere: what a pod has is changed in pods, and metadata in config maps.
func (c *changes) skip(definition, name string, depth int) bool {
	switch {
	case strings.HasSuffix(definition, ".ObjectMeta"):
		return slices.Contains([]string{"managedFields", "resourceVersion", "selfLink", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "uid"}, name) ||
			depth > 1 && name != "labels" && name != "annotations"
	case strings.HasSuffix(definition, "core.v1.PodSpec") && c.resource.Plural != "pods":
		return !slices.Contains([]string{"restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "containers", "ephemeralContainers"}, name)
	case strings.HasSuffix(definition, "core.v1.Container") && c.resource.Plural != "pods":
		return name != "image" && name != "restartPolicy"
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func copied(m map[string]any) map[string]any {
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // it came from JSON
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}
