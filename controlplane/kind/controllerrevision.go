package kind

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func controllerRevisionKind() *Kind {
	return definition[*appsv1.ControllerRevision]{
		gv: appsv1.SchemeGroupVersion, kind: "ControllerRevision", plural: "controllerrevisions", singular: "controllerrevision", namespaced: true,
		new:  func() *appsv1.ControllerRevision { return &appsv1.ControllerRevision{} },
		list: func() runtime.Object { return &appsv1.ControllerRevisionList{} },
		validate: func(r *appsv1.ControllerRevision) field.ErrorList {
			return validate.NonNegative(r.Revision, field.NewPath("revision"))
		},
		validateCreate: func(r *appsv1.ControllerRevision) field.ErrorList {
			return validateRevisionData(r.Data.Raw, field.NewPath("data"))
		},
		validateUpdate: func(r, old *appsv1.ControllerRevision) field.ErrorList {
			return validate.Immutable(r.Data, old.Data, field.NewPath("data"))
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Controller", "string", "Controller of the object"),
			column("Revision", "string", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]), ageColumn(),
		},
		row: func(r *appsv1.ControllerRevision, now time.Time) []any {
			controller := noneText
			if ref := metav1.GetControllerOf(r); ref != nil {
				controller = controllerText(ref)
			}
			return []any{r.Name, controller, r.Revision, age(r, now)}
		},
	}.build()
}

// validateRevisionData wants an object: protobuf carries bytes unread, and they have to be sent on as JSON.
func validateRevisionData(raw []byte, path *field.Path) field.ErrorList {
	if raw == nil {
		return field.ErrorList{field.Required(path, "data is mandatory")}
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return field.ErrorList{field.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))}
	}
	if v == nil {
		return field.ErrorList{field.Required(path, "data is mandatory")}
	}
	if _, ok := v.(map[string]any); !ok {
		return field.ErrorList{field.Required(path, "data must be a valid JSON object")}
	}
	return nil
}

// controllerText names an owner as kubectl does: kind.group/name.
func controllerText(ref *metav1.OwnerReference) string {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	return strings.ToLower(gvk.GroupKind().String()) + "/" + ref.Name
}
