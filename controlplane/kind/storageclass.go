package kind

import (
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/scheduling"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

const (
	// maxClassParameters is how many parameters a class may have, and maxClassParametersSize their bytes, names included.
	maxClassParameters     = 512
	maxClassParametersSize = 256 << 10
)

func storageClassKind() *Kind {
	docs := storagev1.StorageClass{}.SwaggerDoc()
	return definition[*storagev1.StorageClass]{
		gv: storagev1.SchemeGroupVersion, kind: "StorageClass", plural: "storageclasses", singular: "storageclass", short: []string{"sc"},
		new:  func() *storagev1.StorageClass { return &storagev1.StorageClass{} },
		list: func() runtime.Object { return &storagev1.StorageClassList{} },
		defaults: func(c *storagev1.StorageClass) {
			defaults.Pointer(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			defaults.Pointer(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		validate:       validateStorageClass,
		validateUpdate: validateStorageClassUpdate,
		warnings:       func(c, _ *storagev1.StorageClass) []string { return storageClassWarnings(c) },
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Provisioner", "string", docs["provisioner"]), column("ReclaimPolicy", "string", docs["reclaimPolicy"]),
			column("VolumeBindingMode", "string", docs["volumeBindingMode"]), column("AllowVolumeExpansion", "string", docs["allowVolumeExpansion"]), ageColumn(),
		},
		row: func(c *storagev1.StorageClass, now time.Time) []any {
			name := c.Name
			if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				name += " (default)"
			}
			return []any{name, c.Provisioner, string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)), ptr.Deref(c.AllowVolumeExpansion, false), age(c, now)}
		},
	}.build()
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	at := field.NewPath("provisioner")
	var errs field.ErrorList
	if name := strings.ToLower(c.Provisioner); name != "" {
		errs = append(errs, validate.QualifiedName(name, at)...)
	}
	errs = append(errs, validateClassParameters(c.Parameters, field.NewPath("parameters"))...)
	if p := ptr.Deref(c.ReclaimPolicy, ""); p != "" {
		errs = append(errs, validate.Supported(p, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if m := c.VolumeBindingMode; m != nil {
		errs = append(errs, validate.Supported(*m, field.NewPath("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	errs = append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
	return append(errs, validate.Required(c.Provisioner, at)...)
}

func validateClassParameters(parameters map[string]string, path *field.Path) field.ErrorList {
	if len(parameters) > maxClassParameters {
		return field.ErrorList{field.TooLong(path, "" /* too long to be shown */, maxClassParameters)}
	}
	var errs field.ErrorList
	size := 0
	for name, value := range parameters {
		if name == "" {
			errs = append(errs, field.Invalid(path, name, "field can not be empty."))
		}
		size += len(name) + len(value)
	}
	if size > maxClassParametersSize {
		errs = append(errs, field.TooLong(path, "" /* too long to be shown */, maxClassParametersSize))
	}
	return errs
}

// validateTopologies checks where volumes may be made. Terms have to differ, and to be more than empty.
func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type values = map[string]bool
	before := make([]map[string]values, 0, len(terms))
	for i, term := range terms {
		at := path.Index(i).Child("matchLabelExpressions")
		named := map[string]values{}
		for j, r := range term.MatchLabelExpressions {
			at := at.Index(j)
			set, bad := topologyValues(r.Values, at.Child("values"))
			errs = append(errs, bad...)
			errs = append(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
			if _, twice := named[r.Key]; twice {
				errs = append(errs, field.Duplicate(at.Child("key"), r.Key))
			}
			named[r.Key] = set
		}
		if len(named) == 0 {
			for range terms { // once a term, as Kubernetes has it
				errs = append(errs, field.Duplicate(at, ""))
			}
		}
		for _, b := range before {
			if maps.EqualFunc(b, named, func(x, y values) bool { return maps.Equal(x, y) }) {
				errs = append(errs, field.Duplicate(at, ""))
			}
		}
		before = append(before, named)
	}
	return errs
}

func topologyValues(list []string, path *field.Path) (map[string]bool, field.ErrorList) {
	errs := validate.RequiredList(list, path)
	set := map[string]bool{}
	for i, v := range list {
		if set[v] {
			errs = append(errs, field.Duplicate(path.Index(i), v))
		}
		set[v] = true
	}
	return set, errs
}

func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	errs := validate.Unchanged(c.Parameters, old.Parameters, field.NewPath("parameters"))
	errs = append(errs, validate.Unchanged(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
	errs = append(errs, validate.Unchanged(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
	return append(errs, validate.Unchanged(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
}

func storageClassWarnings(c *storagev1.StorageClass) []string {
	var out []string
	for i, term := range c.AllowedTopologies {
		for j, r := range term.MatchLabelExpressions {
			if text, ok := scheduling.OldNodeLabels[r.Key]; ok {
				at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key")
				out = append(out, fmt.Sprintf("%s: %s", at, text))
			}
		}
	}
	return out
}
