package kind_test

import (
	"fmt"
	"strings"
	"testing"
)

// definitionYAML is a definition of widgets with these versions, and with more of the spec.
func definitionYAML(more string, versions ...string) string {
	return "metadata: {name: widgets.example.com}\nspec: {group: example.com, scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [" + strings.Join(versions, ", ") + "], " + more + "}"
}

// versionYAML is a version of a definition.
func versionYAML(name string, served, storage bool, schema, more string) string {
	return fmt.Sprintf("{name: %s, served: %v, storage: %v, schema: {openAPIV3Schema: %s}, %s}", name, served, storage, schema, more)
}

// specYAML is the schema of a version whose spec has these properties.
func specYAML(properties string) string {
	return "{type: object, properties: {spec: {type: object, properties: {" + properties + "}}}}"
}

// v1YAML is a stored version whose spec has these properties.
func v1YAML(properties, more string) string {
	return versionYAML("v1", true, true, specYAML(properties), more)
}

// ofSpec is the path of the schema of a version's spec, where all versions have the same.
const ofSpec = "spec.validation.openAPIV3Schema.properties[spec]"

func TestValidationOfDefinitions(t *testing.T) {
	const size = "size: {type: integer}"
	good := v1YAML(size, "")
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"good":                {definitionYAML("", good), nil},
		"two versions":        {definitionYAML("", good, versionYAML("v2", true, false, specYAML("size: {type: string}"), "")), nil},
		"another name":        {strings.Replace(definitionYAML("", good), "widgets.example.com", "widget.example.com", 1), []string{"metadata.name: " + invalid}},
		"group without a dot": {strings.ReplaceAll(definitionYAML("", good), "example.com", "example"), []string{"spec.group: " + invalid}},
		"scope":               {strings.Replace(definitionYAML("", good), "Namespaced", "Everywhere", 1), []string{"spec.scope: " + notSupported}},
		"names": {strings.Replace(definitionYAML("", good), "kind: Widget", "kind: Widget_, singular: A, shortNames: [B_], listKind: Widget_", 1), []string{
			"spec.names.singular: " + invalid, "spec.names.kind: " + invalid, "spec.names.shortNames[0]: " + invalid, "spec.names.listKind: " + invalid}},
		"none stored":                        {definitionYAML("", versionYAML("v1", true, false, specYAML(size), "")), []string{"spec.versions: " + invalid, "status.storedVersions: " + invalid}},
		"two stored":                         {definitionYAML("", good, versionYAML("v2", true, true, specYAML("size: {type: string}"), "")), []string{"spec.versions: " + invalid}},
		"two of a name":                      {definitionYAML("", good, versionYAML("v1", true, false, specYAML("size: {type: string}"), "")), []string{"spec.versions: " + invalid}},
		"name of a version":                  {definitionYAML("", versionYAML("V_1", true, true, specYAML(size), "")), []string{"spec.versions[0].name: " + invalid, "spec.version: " + invalid}},
		"no schema":                          {definitionYAML("", "{name: v1, served: true, storage: true}"), []string{"spec.versions[0].schema.openAPIV3Schema: " + required}},
		"unknown fields kept by the old way": {definitionYAML("preserveUnknownFields: true", good), []string{"spec.preserveUnknownFields: " + invalid}},
		"approved":                           {strings.NewReplacer("name: widgets.example.com", "name: widgets.x.k8s.io, annotations: {api-approved.kubernetes.io: 'https://github.com/kubernetes/kubernetes/pull/1'}", "example.com", "x.k8s.io").Replace(definitionYAML("", good)), nil},
		"approval of a protected group":      {strings.NewReplacer("example.com", "x.k8s.io").Replace(definitionYAML("", good)), []string{"metadata.annotations[api-approved.kubernetes.io]: " + required}},

		"not structural: no type":              {definitionYAML("", v1YAML("size: {minimum: 1}", "")), []string{ofSpec + ".properties[size].type: " + required}},
		"not structural: root":                 {definitionYAML("", versionYAML("v1", true, true, "{type: array}", "")), []string{"spec.validation.openAPIV3Schema.items: " + required, "spec.validation.openAPIV3Schema.type: " + invalid}},
		"not structural: type in anyOf":        {definitionYAML("", v1YAML("size: {type: integer, anyOf: [{type: integer}]}", "")), []string{ofSpec + ".properties[size].anyOf[0].type: " + forbidden}},
		"not structural: field of allOf alone": {definitionYAML("", versionYAML("v1", true, true, "{type: object, allOf: [{properties: {more: {minimum: 1}}}]}", "")), []string{"spec.validation.openAPIV3Schema.properties[more]: " + required}},
		"not structural: both sorts of fields": {definitionYAML("", v1YAML("size: {type: object, properties: {a: {type: string}}, additionalProperties: {type: string}}", "")), []string{ofSpec + ".properties[size].additionalProperties: " + forbidden}},
		"not structural: list of nothing":      {definitionYAML("", v1YAML("size: {type: array}", "")), []string{ofSpec + ".properties[size].items: " + required}},
		"reference":                            {definitionYAML("", v1YAML("size: {type: object, $ref: '#/definitions/x'}", "")), []string{ofSpec + ".properties[size].$ref: " + forbidden}},
		"unique items":                         {definitionYAML("", v1YAML("size: {type: array, uniqueItems: true, items: {type: string}}", "")), []string{ofSpec + ".properties[size].uniqueItems: " + forbidden}},
		"restricted metadata":                  {definitionYAML("", versionYAML("v1", true, true, "{type: object, properties: {metadata: {type: object, properties: {labels: {type: object}}}}}", "")), []string{"spec.validation.openAPIV3Schema.properties[metadata]: " + forbidden}},
		"default of another type":              {definitionYAML("", v1YAML("size: {type: integer, default: many}", "")), []string{ofSpec + ".properties[size].default: FieldValueTypeInvalid"}},
		"default that is pruned":               {definitionYAML("", v1YAML("size: {type: object, default: {a: b}}", "")), []string{ofSpec + ".properties[size].default: " + invalid}},
		"list map without keys":                {definitionYAML("", v1YAML("list: {type: array, x-kubernetes-list-type: map, items: {type: object, properties: {a: {type: string}}}}", "")), []string{ofSpec + ".properties[list].x-kubernetes-list-map-keys: " + required}},
		"pattern":                              {definitionYAML("", v1YAML("name: {type: string, pattern: '('}", "")), []string{ofSpec + ".properties[name].pattern: " + invalid}},

		"rule that does not compile":        {definitionYAML("", v1YAML("size: {type: integer, x-kubernetes-validations: [{rule: 'self >'}]}", "")), []string{ofSpec + ".properties[size].x-kubernetes-validations[0].rule: " + invalid}},
		"rule of another type":              {definitionYAML("", v1YAML("size: {type: integer, x-kubernetes-validations: [{rule: 'self + 1'}]}", "")), []string{ofSpec + ".properties[size].x-kubernetes-validations[0].rule: " + invalid}},
		"rule of an unknown field":          {definitionYAML("", v1YAML("size: {type: object, properties: {a: {type: integer}}, x-kubernetes-validations: [{rule: 'self.b > 1'}]}", "")), []string{ofSpec + ".properties[size].x-kubernetes-validations[0].rule: " + invalid}},
		"rule that costs too much":          {definitionYAML("", v1YAML("list: {type: array, items: {type: string}, x-kubernetes-validations: [{rule: 'self.all(x, self.all(y, x == y))'}]}", "")), []string{ofSpec + ".properties[list].x-kubernetes-validations[0].rule: " + forbidden, "spec.validation.openAPIV3Schema: " + forbidden}},
		"rule of a bounded list":            {definitionYAML("", v1YAML("list: {type: array, maxItems: 9, items: {type: string, maxLength: 9}, x-kubernetes-validations: [{rule: 'self.all(x, self.all(y, x == y))'}]}", "")), nil},
		"transition in a list without keys": {definitionYAML("", v1YAML("list: {type: array, maxItems: 9, items: {type: integer, x-kubernetes-validations: [{rule: 'self > oldSelf'}]}}", "")), []string{ofSpec + ".properties[list].items.x-kubernetes-validations[0].rule: " + invalid}},
		"message that does not compile":     {definitionYAML("", v1YAML("size: {type: integer, x-kubernetes-validations: [{rule: 'self > 1', messageExpression: '1'}]}", "")), []string{ofSpec + ".properties[size].x-kubernetes-validations[0].messageExpression: " + invalid}},
		"reason":                            {definitionYAML("", v1YAML("size: {type: integer, x-kubernetes-validations: [{rule: 'self > 1', reason: Odd}]}", "")), []string{ofSpec + ".properties[size].x-kubernetes-validations[0].reason: " + notSupported}},

		"selectable object":        {definitionYAML("", v1YAML("a: {type: object}", "selectableFields: [{jsonPath: .spec.a}]")), []string{"spec.selectableFields[0].jsonPath: " + invalid}},
		"selectable metadata":      {definitionYAML("", v1YAML(size, "selectableFields: [{jsonPath: .metadata.name}]")), []string{"spec.selectableFields[0].jsonPath: " + invalid}},
		"selectable twice":         {definitionYAML("", v1YAML(size, "selectableFields: [{jsonPath: .spec.size}, {jsonPath: .spec.size}]")), []string{"spec.selectableFields[1].jsonPath: " + duplicate}},
		"selectable and not there": {definitionYAML("", v1YAML(size, "selectableFields: [{jsonPath: .spec.a}, {jsonPath: 'spec['}]")), []string{"spec.selectableFields[0].jsonPath: " + invalid, "spec.selectableFields[1].jsonPath: " + invalid}},
		"column":                   {definitionYAML("", v1YAML(size, "additionalPrinterColumns: [{name: A, type: number, jsonPath: .spec.size}, {type: colour, jsonPath: 'a['}]")), []string{"spec.additionalPrinterColumns[1].JSONPath: " + invalid, "spec.additionalPrinterColumns[1].name: " + required, "spec.additionalPrinterColumns[1].type: " + invalid}},
		"scale":                    {definitionYAML("", v1YAML(size, "subresources: {scale: {specReplicasPath: .size, statusReplicasPath: .spec.size, labelSelectorPath: .metadata.x}}")), []string{"spec.subresources.scale.labelSelectorPath: " + invalid, "spec.subresources.scale.specReplicasPath: " + invalid, "spec.subresources.scale.statusReplicasPath: " + invalid}},
		"deprecation":              {definitionYAML("", v1YAML(size, "deprecationWarning: old")), []string{"spec.versions[0].deprecationWarning: " + invalid}},

		"conversion by nobody":     {definitionYAML("conversion: {strategy: Webhook}", good), []string{"spec.conversion.conversionReviewVersions: " + required, "spec.conversion.webhookClientConfig: " + required}},
		"conversion by no address": {definitionYAML("conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {}}}", good), []string{"spec.conversion.webhookClientConfig: " + required}},
		"conversion by http":       {definitionYAML("conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v9], clientConfig: {url: 'http://a/b'}}}", good), []string{"spec.conversion.conversionReviewVersions: " + invalid, "spec.conversion.webhookClientConfig.url: " + invalid}},
		"conversion, and none":     {definitionYAML("conversion: {strategy: None, webhook: {conversionReviewVersions: [v1], clientConfig: {url: 'https://a/b'}}}", good), []string{"spec.conversion.conversionReviewVersions: " + forbidden, "spec.conversion.webhookClientConfig: " + forbidden}},
		"conversion by magic":      {definitionYAML("conversion: {strategy: Magic}", good), []string{"spec.conversion.strategy: " + notSupported}},
	} {
		t.Run(name, func(t *testing.T) {
			k := byName(t, "CustomResourceDefinition")
			errs := validated(k, created(t, k, c.yaml))
			if expect(t, short(errs), c.want); t.Failed() {
				t.Log(errs)
			}
		})
	}
}

func TestValidationOfDefinitionUpdates(t *testing.T) {
	const size, other = "size: {type: integer}", "size: {type: string}"
	v1 := v1YAML(size, "")
	was := definitionYAML("", v1)
	established := "\nstatus: {storedVersions: [v1], conditions: [{type: Established, status: 'True'}]}"
	costly := v1YAML("list: {type: array, items: {type: string}, x-kubernetes-validations: [{rule: 'self.all(x, self.all(y, x == y))'}]}", "")
	for name, c := range map[string]struct {
		old, now string
		want     []string
	}{
		"a version more":        {was, definitionYAML("", v1, versionYAML("v2", true, false, specYAML(other), "")), nil},
		"stored in another":     {was, definitionYAML("", versionYAML("v1", true, false, specYAML(size), ""), versionYAML("v2", true, true, specYAML(other), "")), nil},
		"a stored version gone": {was, definitionYAML("", versionYAML("v2", true, true, specYAML(other), "")), []string{"status.storedVersions[0]: " + invalid}},
		"scope":                 {was, strings.Replace(was, "Namespaced", "Cluster", 1), []string{"spec.scope: " + invalid}},
		"kind":                  {was, strings.Replace(was, "kind: Widget", "kind: Gadget", 1), []string{"spec.names.kind: " + invalid}},
		"plural":                {was, strings.Replace(was, "plural: widgets", "plural: gadgets", 1), []string{"spec.names.plural: " + invalid}},
		"short names":           {was, strings.Replace(was, "kind: Widget", "kind: Widget, shortNames: [w]", 1), nil},
		"a costly rule":         {was, definitionYAML("", costly), []string{ofSpec + ".properties[list].x-kubernetes-validations[0].rule: " + forbidden, "spec.validation.openAPIV3Schema: " + forbidden}},
		"no longer structural":  {was, definitionYAML("", v1YAML("size: {minimum: 1}", "")), []string{ofSpec + ".properties[size].type: " + required}},
	} {
		t.Run(name, func(t *testing.T) {
			k := byName(t, "CustomResourceDefinition")
			old, now := created(t, k, c.old), created(t, k, c.now)
			unmarshal(t, c.old+established, old)
			k.PrepareUpdate(now, old)
			errs := append(k.Validate(now), k.ValidateUpdate(now, old)...)
			if expect(t, short(errs), c.want); t.Failed() {
				t.Log(errs)
			}
		})
	}
}
