package kind

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// newEventKind is events.k8s.io/v1 Event: the same objects as core's under newer names.
func newEventKind(stored *Kind) *Kind {
	f := further[*eventsv1.Event, *corev1.Event]{
		stored: stored, gv: eventsv1.SchemeGroupVersion,
		new: func() *eventsv1.Event { return &eventsv1.Event{} }, list: func() runtime.Object { return &eventsv1.EventList{} },
		to: eventToCore, from: eventFromCore, fields: newEventFields,
	}
	k := f.build()
	k.ValidName = nil
	k.Validate = nil
	k.ValidateCreate = f.check(func(obj Object) field.ErrorList { return validateNewEvent(obj.(*corev1.Event)) })
	k.ValidateUpdate = f.compare(func(obj, old Object) field.ErrorList {
		return validateNewEventUpdate(obj.(*corev1.Event), old.(*corev1.Event))
	})
	return k
}

// validateNewEvent holds an event to this API's rules: it is of the newer form, and of that alone.
func validateNewEvent(e *corev1.Event) field.ErrorList {
	errs := validateCoreEvent(e, "reportingController")
	errs = append(errs, validateEventSeries(e.Series)...)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type)))
	}
	for _, older := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()}, {"lastTimestamp", !e.LastTimestamp.IsZero()}, {"count", e.Count != 0},
		{"source", e.Source != corev1.EventSource{}},
	} {
		if older.set {
			errs = append(errs, field.Invalid(field.NewPath(older.name), "", "needs to be unset"))
		}
	}
	return errs
}

func validateEventSeries(s *corev1.EventSeries) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	if s.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if s.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// validateNewEventUpdate lets nothing change but the series.
func validateNewEventUpdate(e, old *corev1.Event) field.ErrorList {
	errs := validateCoreEvent(e, "reportingController")
	if !apiequality.Semantic.DeepEqual(e.Series, old.Series) {
		errs = append(errs, validateEventSeries(e.Series)...)
	}
	for _, f := range []struct {
		name     string
		now, was any
	}{
		{"involvedObject", e.InvolvedObject, old.InvolvedObject}, {"reason", e.Reason, old.Reason}, {"message", e.Message, old.Message},
		{"source", e.Source, old.Source}, {"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", e.LastTimestamp, old.LastTimestamp},
		{"count", e.Count, old.Count}, {"reason", e.Reason, old.Reason}, {"type", e.Type, old.Type},
	} {
		errs = append(errs, validate.Immutable(f.now, f.was, field.NewPath(f.name))...)
	}
	// clients cut times to microseconds, and some did not
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		errs = append(errs, validate.Immutable(e.EventTime, old.EventTime, field.NewPath("eventTime"))...)
	}
	errs = append(errs, validate.Immutable(e.Action, old.Action, field.NewPath("action"))...)
	errs = append(errs, validate.Immutable(e.Related, old.Related, field.NewPath("related"))...)
	errs = append(errs, validate.Immutable(e.ReportingController, old.ReportingController, field.NewPath("reportingController"))...)
	return append(errs, validate.Immutable(e.ReportingInstance, old.ReportingInstance, field.NewPath("reportingInstance"))...)
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
