package kind

import (
	"maps"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// maxDataSize is how many bytes of values one ConfigMap or Secret may hold.
const maxDataSize = corev1.MaxSecretSize

func configMapKind() *Kind {
	docs := corev1.ConfigMap{}.SwaggerDoc()
	return definition[*corev1.ConfigMap]{
		gv: corev1.SchemeGroupVersion, kind: "ConfigMap", plural: "configmaps", singular: "configmap", short: []string{"cm"}, namespaced: true,
		new:            func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		list:           func() runtime.Object { return &corev1.ConfigMapList{} },
		validate:       validateConfigMap,
		validateUpdate: validateConfigMapUpdate,
		columns:        []metav1.TableColumnDefinition{nameColumn(), column("Data", "string", docs["data"]), ageColumn()},
		row: func(cm *corev1.ConfigMap, now time.Time) []any {
			return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), age(cm, now)}
		},
	}.build()
}

func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	total := 0
	data, binary := field.NewPath("data"), field.NewPath("binaryData")
	for key, value := range cm.Data {
		errs = append(errs, validate.Each(data.Key(key), key, validation.IsConfigMapKey(key))...)
		if _, both := cm.BinaryData[key]; both {
			errs = append(errs, field.Invalid(data.Key(key), key, "duplicate of key present in binaryData"))
		}
		total += len(value)
	}
	for key, value := range cm.BinaryData {
		errs = append(errs, validate.Each(binary.Key(key), key, validation.IsConfigMapKey(key))...)
		total += len(value)
	}
	if total > maxDataSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "" /* the value is too long to be shown */, maxDataSize))
	}
	return errs
}

func validateConfigMapUpdate(cm, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	if !ptr.Deref(old.Immutable, false) {
		return nil
	}
	const why = "field is immutable when `immutable` is set"
	if !ptr.Deref(cm.Immutable, false) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
	}
	if !maps.Equal(cm.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), why))
	}
	if !reflect.DeepEqual(cm.BinaryData, old.BinaryData) && (len(cm.BinaryData) > 0 || len(old.BinaryData) > 0) {
		errs = append(errs, field.Forbidden(field.NewPath("binaryData"), why))
	}
	return errs
}
