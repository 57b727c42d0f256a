package unversioned_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/unversioned"
)

func TestForm(t *testing.T) {
	seconds := int64(3)
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"names and nothing", corev1.Toleration{Key: "a", TolerationSeconds: &seconds}, `{"Key":"a","Operator":"","Value":"","Effect":"","TolerationSeconds":3}`},
		{"metadata", &corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{Kind: "x"}, ObjectMeta: metav1.ObjectMeta{Name: "a"}}, `{"name":"a","Spec":{"AccessModes":null,"Selector":null,` +
			`"Resources":{"Limits":null,"Requests":null},"VolumeName":"","StorageClassName":null,"VolumeMode":null,"DataSource":null,"DataSourceRef":null,"VolumeAttributesClassName":null},` +
			`"Status":{"Phase":"","AccessModes":null,"Capacity":null,"Conditions":null,"AllocatedResources":null,"AllocatedResourceStatuses":null,"CurrentVolumeAttributesClassName":null,"ModifyVolumeStatus":null,"HealthStatus":null}}`},
		{"no metadata", corev1.PodTemplateSpec{}.ObjectMeta, `{}`},
		{"maps and lists", []corev1.VolumeResourceRequirements{{Limits: corev1.ResourceList{"b": resource.MustParse("2"), "a": resource.MustParse("1")}}}, `[{"Limits":{"a":"1","b":"2"},"Requests":null}]`},
		{"what has a name for JSON", &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, `{"matchLabels":{"a":"b"}}`},
		{"nothing", nil, `null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := json.Marshal(unversioned.Form(c.value))
			if err != nil || string(data) != c.want {
				t.Errorf("it is %s, %v; want %s", data, err, c.want)
			}
		})
	}
}
