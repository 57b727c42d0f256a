package kind

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/volume"
)

// maxNodeID is how long the name may be that a CSI driver has for a node, in bytes.
const maxNodeID = 256

func csiNodeKind() *Kind {
	docs := storagev1.CSINodeSpec{}.SwaggerDoc()
	return definition[*storagev1.CSINode]{
		gv: storagev1.SchemeGroupVersion, kind: "CSINode", plural: "csinodes", singular: "csinode",
		new:            func() *storagev1.CSINode { return &storagev1.CSINode{} },
		list:           func() runtime.Object { return &storagev1.CSINodeList{} },
		prepareCreate:  func(n *storagev1.CSINode) { prepareCSINode(n, &storagev1.CSINode{}) },
		prepareUpdate:  prepareCSINode,
		status:         &statusRules[*storagev1.CSINode]{prepareUpdate: prepareCSINodeStatus, unowned: Paths("spec", "metadata")},
		validate:       validateCSINode,
		validateUpdate: keptDrivers,
		columns:        []metav1.TableColumnDefinition{nameColumn(), column("Drivers", "integer", docs["drivers"]), ageColumn()},
		row: func(n *storagev1.CSINode, now time.Time) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), age(n, now)}
		},
	}.build()
}

func prepareCSINode(n, old *storagev1.CSINode) {
	n.Status = old.Status
	n.Spec.Drivers = noneIfEmpty(n.Spec.Drivers)
	for i := range n.Spec.Drivers {
		n.Spec.Drivers[i].TopologyKeys = noneIfEmpty(n.Spec.Drivers[i].TopologyKeys)
	}
}

// prepareCSINodeStatus drops the health of storage, which is behind a gate that is off.
func prepareCSINodeStatus(n, old *storagev1.CSINode) {
	n.Spec = old.Spec
	if len(old.Status.StorageHealth) == 0 {
		n.Status.StorageHealth = nil
	}
}

func validateCSINode(n *storagev1.CSINode) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range n.Spec.Drivers {
		d, path := &n.Spec.Drivers[i], field.NewPath("spec", "drivers").Index(i)
		errs = append(errs, volume.ValidateDriverName(d.Name, path.Child("name"))...)
		switch {
		case d.NodeID == "":
			errs = append(errs, field.Required(path.Child("nodeID"), ""))
		case len(d.NodeID) > maxNodeID:
			errs = append(errs, field.Invalid(path.Child("nodeID"), d.NodeID, "must be 256 characters or less"))
		}
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			errs = append(errs, validate.NonNegative(*d.Allocatable.Count, path.Child("allocatable", "count"))...)
		}
		if seen[d.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), d.Name))
		}
		seen[d.Name] = true
		errs = append(errs, validateTopologyKeys(d.TopologyKeys, path)...)
	}
	return errs
}

func validateTopologyKeys(keys []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for _, key := range keys {
		if key == "" {
			errs = append(errs, field.Required(path, key))
		}
		if seen[key] {
			errs = append(errs, field.Duplicate(path, key))
		}
		seen[key] = true
		errs = append(errs, validate.QualifiedName(key, path)...)
	}
	return errs
}

// keptDrivers refuses to change a driver's entry but for what it can attach: the driver registers anew instead.
func keptDrivers(n, old *storagev1.CSINode) field.ErrorList {
	var errs field.ErrorList
	for _, was := range old.Spec.Drivers {
		for _, now := range n.Spec.Drivers {
			was.Allocatable = now.Allocatable
			if was.Name == now.Name && !apiequality.Semantic.DeepEqual(was, now) {
				now.Allocatable = nil
				errs = append(errs, field.Invalid(field.NewPath("spec", "drivers"), unversioned.Form(now), "field is immutable"))
			}
		}
	}
	return errs
}
