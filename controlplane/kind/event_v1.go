package kind

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
)

// newEventKind is events.k8s.io/v1 Event: the same objects as core's under newer names.
func newEventKind(stored *Kind) *Kind {
	return further[*eventsv1.Event, *corev1.Event]{
		stored: stored, gv: eventsv1.SchemeGroupVersion,
		new: func() *eventsv1.Event { return &eventsv1.Event{} }, list: func() runtime.Object { return &eventsv1.EventList{} },
		to: eventToCore, from: eventFromCore, fields: newEventFields,
	}.build()
}

func eventToCore(e *eventsv1.Event) (*corev1.Event, error) {
	out := &corev1.Event{
		ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Reason: e.Reason, Message: e.Note, Source: e.DeprecatedSource,
		FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp, Count: e.DeprecatedCount, Type: e.Type,
		EventTime: e.EventTime, Action: e.Action, Related: e.Related, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out, nil
}

func eventFromCore(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta: e.ObjectMeta, Regarding: e.InvolvedObject, Reason: e.Reason, Note: e.Message, DeprecatedSource: e.Source,
		DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp, DeprecatedCount: e.Count, Type: e.Type,
		EventTime: e.EventTime, Action: e.Action, Related: e.Related, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

// newEventFields are the selectable fields by their newer names.
func newEventFields(core fields.Set) fields.Set {
	out := fields.Set{"reason": core["reason"], "type": core["type"], "reportingController": core["reportingComponent"]}
	for _, name := range []string{"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"} {
		out["regarding."+name] = core["involvedObject."+name]
	}
	return out
}
