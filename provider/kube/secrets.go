package kube

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// annotation is where the version of write-only values is kept on the object, so that an import finds it.
func (w *WriteOnly) annotation() string {
	return "fairlead.io/" + strings.ReplaceAll(w.Version, "_", "-")
}

// writeSecrets adds the write-only values of a configuration to an object, and their version.
func (k *engine) writeSecrets(object *unstructured.Unstructured, config View) error {
	for _, w := range k.desc.WriteOnly {
		values := map[string]any{}
		for name, value := range config.At(w.Text).Members() {
			text, ok := value.Text()
			if !ok {
				return fmt.Errorf("cannot encode %s[%q]: its value is not known", w.Text, name)
			}
			values[name] = base64.StdEncoding.EncodeToString([]byte(text))
		}
		for name, value := range config.At(w.Base64).Members() {
			text, ok := value.Text()
			if !ok {
				return fmt.Errorf("cannot encode %s[%q]: its value is not known", w.Base64, name)
			}
			values[name] = trimLines(text)
		}
		version, ok := config.At(w.Version).Number()
		if len(values) == 0 && !ok {
			continue
		}
		object.Object[w.Field] = values
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[w.annotation()] = strconv.FormatInt(version, 10)
		object.SetAnnotations(annotations)
	}
	return nil
}

// writtenKeys returns which keys an object writes, for the private state: names, never values.
func (k *engine) writtenKeys(object *unstructured.Unstructured) ([]byte, error) {
	keys := map[string][]string{}
	for _, w := range k.desc.WriteOnly {
		values, _, _ := unstructured.NestedMap(object.Object, w.Field)
		keys[w.Field] = []string{}
		for name := range values {
			keys[w.Field] = append(keys[w.Field], name)
		}
	}
	return json.Marshal(keys)
}

// refreshVersions sets the versions in a state to what the server has: null, so that a plan shows a change, when
// another manager has since written a value of ours. The values themselves are never compared, since they are not known.
func (k *engine) refreshVersions(state tftypes.Value, live *unstructured.Unstructured, written []byte) (tftypes.Value, error) {
	if len(k.desc.WriteOnly) == 0 {
		return state, nil
	}
	keys := map[string][]string{}
	if len(written) > 0 {
		if err := json.Unmarshal(written, &keys); err != nil {
			return state, fmt.Errorf("cannot read the names of the keys that were written: %w", err)
		}
	}
	owned, err := ownedFields(live)
	if err != nil {
		return state, err
	}
	for _, w := range k.desc.WriteOnly {
		version := tftypes.NewValue(tftypes.Number, nil)
		number, err := strconv.ParseInt(live.GetAnnotations()[w.annotation()], 10, 64)
		if err == nil && ownsAll(owned, w.Field, keys[w.Field]) {
			version = tftypes.NewValue(tftypes.Number, number)
		}
		state = withMember(state, w.Version, version)
	}
	return state, nil
}

func ownsAll(owned *fieldpath.Set, field string, keys []string) bool {
	for _, name := range keys {
		if owned == nil || !owned.Has(fieldpath.MakePathOrDie(field, name)) {
			return false
		}
	}
	return true
}
