package registry_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// unlucky has the first names that are generated be one that is taken.
type unlucky struct{ left, tried int }

func (u *unlucky) Name() string                                       { return "Unlucky" }
func (u *unlucky) Validate(context.Context, *admission.Request) error { return nil }

func (u *unlucky) Admit(_ context.Context, r *admission.Request) error {
	if o := r.Object; u.left > 0 && o.GetGenerateName() != "" {
		u.left--
		o.SetName("taken")
	}
	u.tried++
	return nil
}

// TestGeneratedNames wants a name that is taken to be tried anew, eight times in all, and names that fit a label.
func TestGeneratedNames(t *testing.T) {
	e := apitest.Start(t, apitest.Options{NoAdmission: true})
	create(t, e.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "taken"}})
	long := strings.Repeat("a", 70)
	for name, tc := range map[string]struct {
		base, prefix string
		taken, tried int
	}{
		"free":          {"web-", "web-", 0, 1},
		"cut":           {long, long[:58], 0, 1},
		"taken once":    {"web-", "web-", 1, 2},
		"free at last":  {"web-", "web-", 7, 8},
		"never free":    {"web-", "", 8, 8},
		"never, beyond": {"web-", "", 100, 8},
	} {
		luck := &unlucky{left: tc.taken}
		r := registry.New(registry.Config{Store: e.Store, Kinds: kind.Builtin(), Admission: []admission.Plugin{luck}, Logger: slog.New(slog.DiscardHandler)})
		got, err := client.Create(t.Context(), registry.NewClient(r, "test"), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: tc.base}})
		if luck.tried != tc.tried {
			t.Errorf("%s: %d names were tried, want %d", name, luck.tried, tc.tried)
		}
		if tc.prefix == "" {
			if s, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsAlreadyExists(err) || !ok || s != 1 || !strings.Contains(err.Error(), "the server was not able to generate a unique name for the object") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(got.Name, tc.prefix) || len(got.Name) != len(tc.prefix)+5 || len(validation.IsDNS1123Label(got.Name)) > 0 || got.GenerateName != tc.base {
			t.Errorf("%s: got %q, %v", name, got.GetName(), err)
		}
	}
	own := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "taken", GenerateName: "web-"}}
	if _, err := client.Create(t.Context(), e.Client, own); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a name of its own beside generateName: %v", err)
	}
}
