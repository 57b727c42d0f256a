package admission

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	psadmission "k8s.io/pod-security-admission/admission"
	psconfig "k8s.io/pod-security-admission/admission/api"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// podSecurity holds pods to the level that their namespace's labels name (pod-security.kubernetes.io/enforce,
// warn, audit), by the checks that Kubernetes publishes. Without labels everything is allowed.
type podSecurity struct {
	silent
	judge   *psadmission.Admission
	extract psadmission.DefaultPodSpecExtractor
}

func newPodSecurity(c Reader) (*podSecurity, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot make pod security checks: %w", err)
	}
	reads := podSecurityReader{c}
	privileged := psconfig.PodSecurityDefaults{
		Enforce: string(psapi.LevelPrivileged), EnforceVersion: psapi.VersionLatest,
		Audit: string(psapi.LevelPrivileged), AuditVersion: psapi.VersionLatest,
		Warn: string(psapi.LevelPrivileged), WarnVersion: psapi.VersionLatest,
	}
	judge := &psadmission.Admission{
		Configuration:   &psconfig.PodSecurityConfiguration{Defaults: privileged},
		Evaluator:       evaluator,
		Metrics:         uncounted{},
		NamespaceGetter: reads,
		PodLister:       reads,
	}
	if err := judge.CompleteConfiguration(); err != nil {
		return nil, fmt.Errorf("cannot configure pod security: %w", err)
	}
	if err := judge.ValidateConfiguration(); err != nil {
		return nil, fmt.Errorf("cannot configure pod security: %w", err)
	}
	return &podSecurity{judge: judge}, nil
}

func (*podSecurity) Name() string { return "PodSecurity" }

func (p *podSecurity) Validate(ctx context.Context, r *Request) error {
	if r.Object == nil || r.Verb != kind.Create && r.Verb != kind.Update {
		return nil
	}
	if _, ok := r.Object.(*corev1.Namespace); !ok && !p.extract.HasPodSpec(r.Kind.GroupResource()) {
		return nil
	}
	attributes := &psapi.AttributesRecord{
		Name: nameOf(r), Namespace: r.Namespace, Kind: r.Kind.GroupVersionKind, Resource: r.Kind.GroupVersionResource(),
		Subresource: r.Subresource, Operation: admissionv1.Operation(r.Verb), Object: r.Object,
	}
	if r.Old != nil {
		attributes.OldObject = r.Old
	}
	if r.User != nil {
		attributes.Username = r.User.Name
	}
	answer := p.judge.Validate(ctx, attributes)
	for _, text := range answer.Warnings {
		r.warn(text)
	}
	for key, value := range answer.AuditAnnotations {
		kind.Annotate(ctx, psapi.AuditAnnotationPrefix+key, value)
	}
	if !answer.Allowed {
		return &apierrors.StatusError{ErrStatus: *answer.Result}
	}
	return nil
}

// podSecurityReader reads what the checks ask for.
type podSecurityReader struct{ client Reader }

func (p podSecurityReader) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return client.Get[*corev1.Namespace](ctx, p.client(), "", name)
}

func (p podSecurityReader) ListPods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	return client.List[*corev1.Pod](ctx, p.client(), client.Query{Namespace: namespace})
}

// uncounted drops the library's own figures: the API server counts refusals of all plug-ins alike.
type uncounted struct{}

func (uncounted) RecordEvaluation(metrics.Decision, psapi.LevelVersion, metrics.Mode, psapi.Attributes) {
}
func (uncounted) RecordExemption(psapi.Attributes)   {}
func (uncounted) RecordError(bool, psapi.Attributes) {}
