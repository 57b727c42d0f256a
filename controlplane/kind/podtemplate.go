package kind

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/podspec"
)

func podTemplateKind() *Kind {
	return definition[*corev1.PodTemplate]{
		gv: corev1.SchemeGroupVersion, kind: "PodTemplate", plural: "podtemplates", singular: "podtemplate", namespaced: true, generation: true,
		new:      func() *corev1.PodTemplate { return &corev1.PodTemplate{} },
		list:     func() runtime.Object { return &corev1.PodTemplateList{} },
		template: func(o *corev1.PodTemplate) *corev1.PodTemplateSpec { return &o.Template },
		defaults: func(p *corev1.PodTemplate) { podspec.DefaultTemplate(&p.Template) },
		validateTemplated: func(p *corev1.PodTemplate, e podspec.Exempt) field.ErrorList {
			return podspec.ValidateTemplate(&p.Template, e, field.NewPath("template"))
		},
		warnings: func(p, _ *corev1.PodTemplate) []string {
			return podspec.TemplateWarnings(&p.Template, field.NewPath("template"))
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Containers", "string", "Names of each container in the template."),
			column("Images", "string", "Images referenced by each container in the template."), column("Pod Labels", "string", "The labels for the pod template."),
		},
		row: func(p *corev1.PodTemplate, _ time.Time) []any {
			names, images := containerCells(p.Template.Spec.Containers)
			return []any{p.Name, names, images, formatLabels(p.Template.Labels)}
		},
	}.build()
}
