package api

import (
	"encoding/json"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// kindRefs returns references to a kind's schema and to that of its lists.
func (d *document) kindRefs(k *kind.Kind) (obj, list node) {
	if k.Model == nil {
		return d.ref(reflect.TypeOf(k.New()).Elem()), d.ref(reflect.TypeOf(k.NewList()).Elem())
	}
	name, schema := k.Model(d.version3)
	d.definitions[name] = d.modelNode(schema)
	d.ref(reflect.TypeFor[metav1.ObjectMeta]())
	listName := name[:len(name)-len(k.Kind)] + k.ListKind
	meta := d.describe(d.ref(reflect.TypeFor[metav1.ListMeta]()), listDocs["metadata"])
	d.definitions[listName] = node{
		"description": k.ListKind + " is a list of " + k.Kind, "type": "object", "required": []string{"items"},
		"properties": node{
			"apiVersion": node{"type": "string", "description": typeDocs["apiVersion"]},
			"kind":       node{"type": "string", "description": typeDocs["kind"]},
			"metadata":   meta,
			"items":      node{"type": "array", "items": node{"$ref": d.prefix + name}, "description": "List of " + k.Plural + ". More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"},
		},
		"x-kubernetes-group-version-kind": []any{gvkFields(k.GroupVersion().WithKind(k.ListKind))},
	}
	if fields, ok := schema.Extensions["x-kubernetes-selectable-fields"]; ok {
		d.definitions[listName].(node)["x-kubernetes-selectable-fields"] = fields
	}
	return node{"$ref": d.prefix + name}, node{"$ref": d.prefix + listName}
}

var (
	listDocs = metav1.PartialObjectMetadataList{}.SwaggerDoc()
	typeDocs = metav1.TypeMeta{}.SwaggerDoc()
)

// modelNode returns a schema as it is written in a document.
func (d *document) modelNode(schema *spec.Schema) node {
	data, err := json.Marshal(schema)
	if err == nil {
		out := node{}
		if err = json.Unmarshal(data, &out); err == nil {
			return out
		}
	}
	return node{"type": "object", "description": "the schema can not be shown: " + err.Error()}
}
