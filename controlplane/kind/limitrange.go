package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/quantity"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
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
		prepareCreate: func(l *corev1.LimitRange) { l.Spec.Limits = noneIfEmpty(l.Spec.Limits) },
		prepareUpdate: func(l, _ *corev1.LimitRange) { l.Spec.Limits = noneIfEmpty(l.Spec.Limits) },
		validate:      validateLimitRange,
		columns:       []metav1.TableColumnDefinition{nameColumn(), createdColumn()},
		row:           func(l *corev1.LimitRange, _ time.Time) []any { return []any{l.Name, createdAt(l)} },
	}.build()
}

func defaultLimitRangeItem(item *corev1.LimitRangeItem) {
	for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
		quantity.Round(list)
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
		errs = append(errs, validateLimitType(item.Type, at.Child("type"))...)
		if types[item.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), item.Type))
		}
		types[item.Type] = true
		errs = append(errs, validateLimitRangeItem(item, at)...)
	}
	return errs
}

func validateLimitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	errs := validate.Each(path, t, validation.IsQualifiedName(string(t)))
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		if len(errs) == 0 && !strings.Contains(string(t), "/") {
			errs = append(errs, field.Invalid(path, t, "must be a standard limit type or fully qualified"))
		}
	}
	return errs
}

func validateLimitRangeItem(item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[corev1.ResourceName]bool{}
	check := func(part string, list corev1.ResourceList) {
		for name := range list {
			at := path.Child(part).Key(string(name))
			if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
				errs = append(errs, quantity.ValidateContainerName(name, at)...)
			} else {
				errs = append(errs, quantity.ValidateName(name, at)...)
			}
			names[name] = true
		}
	}
	check("max", item.Max)
	check("min", item.Min)
	if item.Type != corev1.LimitTypePod {
		check("default", item.Default)
		check("defaultRequest", item.DefaultRequest)
	} else {
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
			errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	check("maxLimitRequestRatio", item.MaxLimitRequestRatio)
	for name := range names {
		errs = append(errs, validateLimitOrder(item, name, path)...)
	}
	return errs
}

// validateLimitOrder holds min <= defaultRequest <= default <= max for one resource.
func validateLimitOrder(item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	low, hasLow := item.Min[name]
	high, hasHigh := item.Max[name]
	var limit, request resource.Quantity
	var hasLimit, hasRequest bool
	if item.Type != corev1.LimitTypePod {
		limit, hasLimit = item.Default[name]
		request, hasRequest = item.DefaultRequest[name]
	}
	refuse := func(part string, q resource.Quantity, format string, args ...any) {
		errs = append(errs, field.Invalid(path.Child(part).Key(string(name)), q, fmt.Sprintf(format, args...)))
	}
	// part and shown are what Kubernetes names, which is not always what is wrong
	ordered := func(part string, shown, a, b resource.Quantity, both bool, aName, bName string) {
		if both && a.Cmp(b) > 0 {
			refuse(part, shown, "%s value %s is greater than %s value %s", aName, a.String(), bName, b.String())
		}
	}
	ordered("min", low, low, high, hasLow && hasHigh, "min", "max")
	ordered("defaultRequest", request, low, request, hasLow && hasRequest, "min", "default request")
	ordered("defaultRequest", request, request, high, hasRequest && hasHigh, "default request", "max")
	ordered("defaultRequest", request, request, limit, hasRequest && hasLimit, "default request", "default limit")
	ordered("default", low, low, limit, hasLow && hasLimit, "min", "default")
	ordered("default", high, limit, high, hasLimit && hasHigh, "default", "max")
	if ratio, ok := item.MaxLimitRequestRatio[name]; ok {
		if ratio.Cmp(resource.MustParse("1")) < 0 {
			refuse("maxLimitRequestRatio", ratio, "ratio %s is less than 1", ratio.String())
		}
		if hasLow && hasHigh {
			if is, most := ratioBounds(ratio, low, high); is > most {
				refuse("maxLimitRequestRatio", ratio, "ratio %s is greater than max/min = %f", ratio.String(), most)
			}
		}
	}
	if hasLimit && hasRequest && !quantity.Overcommits(name) && limit.Cmp(request) != 0 {
		refuse("defaultRequest", request, "default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)
	}
	return errs
}

// ratioBounds returns a ratio and the largest that the bounds leave room for, in thousandths where these can be told.
func ratioBounds(ratio, low, high resource.Quantity) (is, most float64) {
	if ratio.Value() < resource.MaxMilliValue && low.Value() < resource.MaxMilliValue && high.Value() < resource.MaxMilliValue {
		return float64(ratio.MilliValue()) / 1000, float64(high.MilliValue()) / float64(low.MilliValue())
	}
	return float64(ratio.Value()), float64(high.Value()) / float64(low.Value())
}
