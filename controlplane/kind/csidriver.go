package kind

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

const (
	// minVolumeTokenSeconds and maxVolumeTokenSeconds bound the life of the tokens that a driver asks for.
	minVolumeTokenSeconds = 600
	maxVolumeTokenSeconds = 1 << 32
	// minAllocatablePeriod is the shortest time between two updates of what a node can attach, in seconds.
	minAllocatablePeriod = 10
)

func csiDriverKind() *Kind {
	docs := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return definition[*storagev1.CSIDriver]{
		gv: storagev1.SchemeGroupVersion, kind: "CSIDriver", plural: "csidrivers", singular: "csidriver",
		new:           func() *storagev1.CSIDriver { return &storagev1.CSIDriver{} },
		list:          func() runtime.Object { return &storagev1.CSIDriverList{} },
		defaults:      defaultDriver,
		prepareUpdate: countDriverChange,
		validate:      validateDriver,
		warnings:      driverWarnings,
		validateUpdate: func(d, old *storagev1.CSIDriver) field.ErrorList {
			path := field.NewPath("spec")
			errs := validate.Immutable(d.Spec.AttachRequired, old.Spec.AttachRequired, path.Child("attachedRequired"))
			return append(errs, validate.Immutable(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, path.Child("volumeLifecycleModes"))...)
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("AttachRequired", "boolean", docs["attachRequired"]), column("PodInfoOnMount", "boolean", docs["podInfoOnMount"]),
			column("StorageCapacity", "boolean", docs["storageCapacity"]), column("TokenRequests", "string", docs["tokenRequests"]),
			column("RequiresRepublish", "boolean", docs["requiresRepublish"]), column("Modes", "string", docs["volumeLifecycleModes"]), ageColumn(),
		},
		row: driverRow,
	}.build()
}

func defaultDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	defaults.Pointer(&s.AttachRequired, true)
	defaults.Pointer(&s.PodInfoOnMount, false)
	defaults.Pointer(&s.StorageCapacity, false)
	defaults.Pointer(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	defaults.Pointer(&s.RequiresRepublish, false)
	defaults.Pointer(&s.SELinuxMount, false)
	defaults.Pointer(&s.PreventPodSchedulingIfMissing, false)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

// countDriverChange makes a new generation of a driver, whose first has no number.
func countDriverChange(d, old *storagev1.CSIDriver) {
	if !apiequality.Semantic.DeepEqual(&d.Spec, &old.Spec) {
		d.Generation = old.Generation + 1
	}
}

// driverWarnings asks for tokens in secrets, where they are not logged.
func driverWarnings(d, old *storagev1.CSIDriver) []string {
	asked := d.Spec.TokenRequests
	if len(asked) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil || old != nil && apiequality.Semantic.DeepEqual(asked, old.Spec.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}

func driverRow(d *storagev1.CSIDriver, now time.Time) []any {
	tokens, modes := unsetText, make([]string, len(d.Spec.VolumeLifecycleModes))
	if len(d.Spec.TokenRequests) > 0 {
		audiences := make([]string, len(d.Spec.TokenRequests))
		for i, t := range d.Spec.TokenRequests {
			audiences[i] = t.Audience
		}
		tokens = strings.Join(audiences, ",")
	}
	for i, m := range d.Spec.VolumeLifecycleModes {
		modes[i] = string(m)
	}
	return []any{
		d.Name, ptr.Deref(d.Spec.AttachRequired, true), ptr.Deref(d.Spec.PodInfoOnMount, false), ptr.Deref(d.Spec.StorageCapacity, false), tokens,
		ptr.Deref(d.Spec.RequiresRepublish, false), orNone(strings.Join(modes, ",")), age(d, now),
	}
}

func validateDriver(d *storagev1.CSIDriver) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if p := d.Spec.FSGroupPolicy; p != nil {
		errs = append(errs, validate.Supported(*p, path.Child("fsGroupPolicy"), storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)...)
	}
	errs = append(errs, validateVolumeTokens(d.Spec.TokenRequests, path.Child("tokenRequests"))...)
	for _, m := range d.Spec.VolumeLifecycleModes {
		errs = append(errs, validate.Supported(m, path.Child("volumeLifecycleModes"), storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	if s := d.Spec.NodeAllocatableUpdatePeriodSeconds; s != nil && *s < minAllocatablePeriod {
		errs = append(errs, field.Invalid(path.Child("nodeAllocatableUpdatePeriodSeconds"), *s, "must be greater than or equal to 10 seconds"))
	}
	if d.Spec.ServiceAccountTokenInSecrets != nil && len(d.Spec.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(path.Child("serviceAccountTokenInSecrets"), *d.Spec.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	return errs
}

func validateVolumeTokens(requests []storagev1.TokenRequest, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, t := range requests {
		at := path.Index(i)
		if seen[t.Audience] {
			errs = append(errs, field.Duplicate(at.Child("audience"), t.Audience))
			continue
		}
		seen[t.Audience] = true
		s := ptr.Deref(t.ExpirationSeconds, minVolumeTokenSeconds)
		if s < minVolumeTokenSeconds {
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), s, "may not specify a duration less than 10 minutes"))
		}
		if s > maxVolumeTokenSeconds {
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), s, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return errs
}
