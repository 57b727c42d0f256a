package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// HighestUserPriority is the highest value of a priority class that a user may make; above are the system's.
const HighestUserPriority = int32(1_000_000_000)

// SystemPriorityPrefix begins the names of the system's own priority classes.
const SystemPriorityPrefix = "system-"

// SystemPriorities are the classes that every cluster has.
var SystemPriorities = map[string]int32{
	"system-cluster-critical": 2_000_000_000,
	"system-node-critical":    2_000_001_000,
}

func priorityClassKind() *Kind {
	docs := schedulingv1.PriorityClass{}.SwaggerDoc()
	return definition[*schedulingv1.PriorityClass]{
		gv: schedulingv1.SchemeGroupVersion, kind: "PriorityClass", plural: "priorityclasses", singular: "priorityclass", short: []string{"pc"},
		new:  func() *schedulingv1.PriorityClass { return &schedulingv1.PriorityClass{} },
		list: func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		defaults: func(p *schedulingv1.PriorityClass) {
			if p.PreemptionPolicy == nil {
				lower := corev1.PreemptLowerPriority
				p.PreemptionPolicy = &lower
			}
		},
		prepareCreate:  func(p *schedulingv1.PriorityClass) { p.Generation = 1 }, // and never another
		validateCreate: validatePriorityClass,
		validateUpdate: func(p, old *schedulingv1.PriorityClass) field.ErrorList {
			var errs field.ErrorList
			if p.Value != old.Value {
				errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
			}
			return append(errs, validate.Immutable(p.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Value", "integer", docs["value"]), column("Global-Default", "boolean", docs["globalDefault"]),
			ageColumn(), column("PreemptionPolicy", "string", docs["preemptionPolicy"]),
		},
		row: func(p *schedulingv1.PriorityClass, now time.Time) []any {
			return []any{p.Name, int64(p.Value), p.GlobalDefault, age(p, now), string(ptr.Deref(p.PreemptionPolicy, ""))}
		},
	}.build()
}

func validatePriorityClass(p *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(p.Name, SystemPriorityPrefix) {
		value, ok := SystemPriorities[p.Name]
		why := ""
		switch {
		case !ok:
			why = p.Name + " is not a known system priority class"
		case value != p.Value:
			why = fmt.Sprintf("value of %v PriorityClass must be %v", p.Name, value)
		case p.GlobalDefault:
			why = fmt.Sprintf("globalDefault of %v PriorityClass must be false", p.Name)
		}
		if why != "" {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+SystemPriorityPrefix+"' prefix are reserved for system use only. error: "+why))
		}
	} else if p.Value > HighestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000"))
	}
	if p.PreemptionPolicy != nil {
		errs = append(errs, validate.PreemptionPolicy(*p.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	}
	return errs
}
