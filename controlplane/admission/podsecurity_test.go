package admission_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// judgement is what the plug-in has to say of a request.
type judgement struct {
	warnings []string
	notes    map[string]string // annotations of the audit event, without the common prefix
	err      error
}

// judge asks pod security alone.
func judge[T kind.Object](t *testing.T, c client.Client, verb kind.Verb, obj T, old kind.Object) judgement {
	t.Helper()
	plugins, err := admission.Default(func() client.Client { return c }, admission.Options{ServiceCIDR: plane.Services})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(plugins, func(p admission.Plugin) bool { return p.Name() == "PodSecurity" })
	j := judgement{notes: map[string]string{}}
	ctx := kind.WithAnnotator(t.Context(), func(key, value string) {
		j.notes[strings.TrimPrefix(key, "pod-security.kubernetes.io/")] = value
	})
	r := &admission.Request{Verb: verb, Kind: kind.Of[T](), Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: obj, Old: old,
		Warn: func(text string) { j.warnings = append(j.warnings, text) }}
	j.err = plugins[at].Validate(ctx, r)
	return j
}

// TestPodSecurityModes holds pods and what makes pods to namespaces with each of the labels.
func TestPodSecurityModes(t *testing.T) {
	const (
		unrestricted = `allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ` +
			`unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), ` +
			`runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ` +
			`seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`
		would = `would violate PodSecurity "restricted:latest": ` + unrestricted
	)
	c := start(t)
	plain := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x:1"}}}
	hostNetwork := *plain.DeepCopy()
	hostNetwork.HostNetwork = true
	// as was enough for restricted before 1.19, and as is today
	older := *plain.DeepCopy()
	yes, no := true, false
	older.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
	older.Containers[0].SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: &no}
	conforms := *older.DeepCopy()
	conforms.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	conforms.Containers[0].SecurityContext.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	restricted := map[string]string{"enforce": "restricted"}

	for name, tc := range map[string]struct {
		labels     map[string]string
		spec       corev1.PodSpec
		deployment bool
		refusal    string
		warnings   []string
		notes      map[string]string
	}{
		"restricted": {labels: restricted, spec: plain, refusal: `pods "x" is forbidden: violates PodSecurity "restricted:latest": ` + unrestricted,
			notes: map[string]string{"enforce-policy": "restricted:latest"}},
		"conforms":    {labels: restricted, spec: conforms, notes: map[string]string{"enforce-policy": "restricted:latest"}},
		"version":     {labels: map[string]string{"enforce": "restricted", "enforce-version": "v1.18"}, spec: older, notes: map[string]string{"enforce-policy": "restricted:v1.18"}},
		"not-version": {labels: restricted, spec: older, refusal: "seccompProfile", notes: map[string]string{"enforce-policy": "restricted:latest"}},
		"audit": {labels: map[string]string{"audit": "baseline"}, spec: hostNetwork, notes: map[string]string{"enforce-policy": "privileged:latest",
			"audit-violations": `would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`}},
		"warn": {labels: map[string]string{"warn": "restricted"}, spec: plain, warnings: []string{would}, notes: map[string]string{"enforce-policy": "privileged:latest"}},
		// what makes pods is never refused, but who makes it is told
		"workload":       {labels: restricted, spec: plain, deployment: true, warnings: []string{would}},
		"workload-audit": {labels: map[string]string{"audit": "restricted"}, spec: plain, deployment: true, notes: map[string]string{"audit-violations": would}},
		"workload-good":  {labels: restricted, spec: conforms, deployment: true},
		"not-labelled":   {spec: hostNetwork, notes: map[string]string{"enforce-policy": "privileged:latest"}},
	} {
		t.Run(name, func(t *testing.T) {
			create(t, c, securityNamespace(name, tc.labels))
			meta := metav1.ObjectMeta{Namespace: name, Name: "x"}
			var j judgement
			if tc.deployment {
				j = judge(t, c, kind.Create, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: tc.spec}}}, nil)
			} else {
				j = judge(t, c, kind.Create, &corev1.Pod{ObjectMeta: meta, Spec: tc.spec}, nil)
			}
			if tc.refusal != "" {
				refused(t, j.err, apierrors.IsForbidden, tc.refusal)
			} else if j.err != nil {
				t.Error(j.err)
			}
			if !slices.Equal(j.warnings, tc.warnings) {
				t.Errorf("warnings are %q, want %q", j.warnings, tc.warnings)
			}
			if !maps.Equal(j.notes, tc.notes) {
				t.Errorf("audit annotations are %q, want %q", j.notes, tc.notes)
			}
		})
	}
	t.Run("relabelled", func(t *testing.T) {
		old := create(t, c, securityNamespace("relabelled", nil))
		create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "relabelled", Name: "default"}})
		for _, name := range []string{"a", "b"} {
			p := aPod(name)
			p.Namespace = "relabelled"
			create(t, c, p)
		}
		j := judge(t, c, kind.Update, securityNamespace("relabelled", restricted), old)
		want := []string{`existing pods in namespace "relabelled" violate the new PodSecurity enforce level "restricted:latest"`,
			"a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"}
		if j.err != nil || !slices.Equal(j.warnings, want) {
			t.Errorf("warnings are %q, %v, want %q", j.warnings, j.err, want)
		}
		_, err := client.Update(t.Context(), c, securityNamespace("relabelled", map[string]string{"enforce-version": "1.18"}))
		refused(t, err, apierrors.IsInvalid, `metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "1.18"`)
	})
}

func securityNamespace(name string, labels map[string]string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for key, value := range labels {
		ns.Labels["pod-security.kubernetes.io/"+key] = value
	}
	return ns
}
