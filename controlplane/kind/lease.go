package kind

import (
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func leaseKind() *Kind {
	docs := coordinationv1.LeaseSpec{}.SwaggerDoc()
	return definition[*coordinationv1.Lease]{
		gv: coordinationv1.SchemeGroupVersion, kind: "Lease", plural: "leases", singular: "lease", namespaced: true,
		new:  func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		list: func() runtime.Object { return &coordinationv1.LeaseList{} },
		// how leaders are chosen together is behind a gate that is off
		prepareCreate: func(l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil },
		prepareUpdate: func(l, old *coordinationv1.Lease) {
			if old.Spec.Strategy == nil {
				l.Spec.Strategy = nil
			}
			if old.Spec.PreferredHolder == nil {
				l.Spec.PreferredHolder = nil
			}
		},
		validate: validateLease,
		columns:  []metav1.TableColumnDefinition{nameColumn(), column("Holder", "string", docs["holderIdentity"]), ageColumn()},
		row: func(l *coordinationv1.Lease, now time.Time) []any {
			return []any{l.Name, ptr.Deref(l.Spec.HolderIdentity, ""), age(l, now)}
		},
	}.build()
}

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if t := l.Spec.LeaseTransitions; t != nil && *t < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), *t, "must be greater than or equal to 0"))
	}
	if s := l.Spec.Strategy; s != nil {
		at := path.Child("strategy", "strategy")
		if strings.Contains(string(*s), "/") {
			errs = append(errs, validate.Each(at, *s, validation.IsQualifiedName(string(*s)))...)
		} else {
			errs = append(errs, validate.Supported(*s, at, coordinationv1.OldestEmulationVersion)...)
		}
	}
	if ptr.Deref(l.Spec.PreferredHolder, "") != "" && ptr.Deref(l.Spec.Strategy, "") == "" {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}
