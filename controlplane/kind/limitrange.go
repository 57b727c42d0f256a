package kind

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func limitRangeKind() *Kind {
	return definition[*corev1.LimitRange]{
		gv: corev1.SchemeGroupVersion, kind: "LimitRange", plural: "limitranges", singular: "limitrange", short: []string{"limits"}, namespaced: true,
		new:  func() *corev1.LimitRange { return &corev1.LimitRange{} },
		list: func() runtime.Object { return &corev1.LimitRangeList{} },
		defaults: func(l *corev1.LimitRange) {
			for i := range l.Spec.Limits {
				defaultLimitRangeItem(&l.Spec.Limits[i])
			}
		},
		validate: validateLimitRange,
		columns:  []metav1.TableColumnDefinition{nameColumn(), createdColumn()},
		row:      func(l *corev1.LimitRange, _ time.Time) []any { return []any{l.Name, createdAt(l)} },
	}.build()
}

func defaultLimitRangeItem(item *corev1.LimitRangeItem) {
	for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
		defaultResources(list)
	}
	if item.Type != corev1.LimitTypeContainer {
		return
	}
	fill := func(to *corev1.ResourceList, from corev1.ResourceList) {
		if *to == nil {
			*to = corev1.ResourceList{}
		}
		for name, value := range from {
			if _, ok := (*to)[name]; !ok {
				(*to)[name] = value.DeepCopy()
			}
		}
	}
	fill(&item.Default, item.Max)
	fill(&item.DefaultRequest, item.Default)
	fill(&item.DefaultRequest, item.Min)
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	types := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		item, at := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		if types[item.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), item.Type))
		}
		types[item.Type] = true
		errs = append(errs, validateLimitRangeItem(item, at)...)
	}
	return errs
}

func validateLimitRangeItem(item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[corev1.ResourceName]bool{}
	for part, list := range map[string]corev1.ResourceList{
		"max": item.Max, "min": item.Min, "default": item.Default, "defaultRequest": item.DefaultRequest, "maxLimitRequestRatio": item.MaxLimitRequestRatio,
	} {
		errs = append(errs, validateResourceList(list, path.Child(part))...)
		for name := range list {
			names[name] = true
		}
	}
	if item.Type == corev1.LimitTypePod {
		if len(item.Default) > 0 {
			errs = append(errs, field.Forbidden(path.Child("default"), "may not be specified when `type` is 'Pod'"))
		}
		if len(item.DefaultRequest) > 0 {
			errs = append(errs, field.Forbidden(path.Child("defaultRequest"), "may not be specified when `type` is 'Pod'"))
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, hasMin := item.Min[corev1.ResourceStorage]
		_, hasMax := item.Max[corev1.ResourceStorage]
		if !hasMin && !hasMax {
			errs = append(errs, field.Required(path, "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	for name := range names {
		errs = append(errs, validateLimitOrder(item, name, path)...)
	}
	return errs
}

// validateLimitOrder holds min <= defaultRequest <= default <= max for one resource.
func validateLimitOrder(item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type bound struct {
		part, text string
		list       corev1.ResourceList
	}
	order := []bound{
		{"min", "min", item.Min}, {"defaultRequest", "default request", item.DefaultRequest}, {"default", "default", item.Default}, {"max", "max", item.Max},
	}
	for i, low := range order {
		a, ok := low.list[name]
		if !ok {
			continue
		}
		for _, high := range order[i+1:] {
			if b, ok := high.list[name]; ok && a.Cmp(b) > 0 {
				errs = append(errs, field.Invalid(path.Child(low.part).Key(string(name)), a.String(),
					fmt.Sprintf("%s value %s is greater than %s value %s", low.text, a.String(), high.text, b.String())))
			}
		}
	}
	if r, ok := item.MaxLimitRequestRatio[name]; ok {
		if r.Value() < 1 {
			errs = append(errs, field.Invalid(path.Child("maxLimitRequestRatio").Key(string(name)), r.String(), fmt.Sprintf("ratio %s is less than 1", r.String())))
		}
	}
	return errs
}
