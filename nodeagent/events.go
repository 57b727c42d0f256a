package nodeagent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
)

// events writes the node's Events to the API, aggregated as a kubelet does.
type events struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
	sink        record.EventSink
}

func newEvents(client kubernetes.Interface, nodeName string) *events {
	b := record.NewBroadcaster()
	return &events{
		broadcaster: b,
		recorder:    b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: nodeName}),
		sink:        &typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")},
	}
}

func (e *events) run(ctx context.Context) error {
	w := e.broadcaster.StartRecordingToSink(e.sink)
	<-ctx.Done()
	w.Stop()
	e.broadcaster.Shutdown()
	return nil
}

// unhealthy tells of a probe's attempt that did not pass, in a kubelet's words, which people and tools look for.
func (e *events) unhealthy(t probe.Target, k probe.Kind, o probe.Outcome, message string) {
	name := map[probe.Kind]string{probe.Liveness: "Liveness", probe.Readiness: "Readiness", probe.Startup: "Startup"}[k]
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: t.Pod.Namespace, Name: t.Pod.Name, UID: t.Pod.UID, ResourceVersion: t.Pod.ResourceVersion,
		FieldPath: "spec.containers{" + t.Container.Name + "}",
	}
	what := "failed"
	if o == probe.Unknown {
		what = "errored and resulted in unknown state"
	}
	e.recorder.Eventf(ref, corev1.EventTypeWarning, "Unhealthy", "%s probe %s: %s", name, what, message)
}
