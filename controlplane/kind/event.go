package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// EventTTL is how long an event lives.
const EventTTL = time.Hour

// Limits of an event in the form of events.k8s.io/v1: what has an eventTime is held to them.
const (
	maxEventReason     = 128
	maxEventAction     = 128
	maxEventNote       = 1024
	maxReportingObject = 128
)

func eventKind() *Kind {
	event, object := corev1.Event{}.SwaggerDoc(), corev1.ObjectReference{}.SwaggerDoc()
	return definition[*corev1.Event]{
		gv: corev1.SchemeGroupVersion, kind: "Event", plural: "events", singular: "event", short: []string{"ev"}, namespaced: true,
		new:      func() *corev1.Event { return &corev1.Event{} },
		list:     func() runtime.Object { return &corev1.EventList{} },
		validate: func(e *corev1.Event) field.ErrorList { return validateCoreEvent(e, "reportingComponent") },
		// older clients made names that are no DNS names
		validName: validate.PathSegmentName,
		fields:    eventFields,
		ttl:       func(*corev1.Event) time.Duration { return EventTTL },
		columns: []metav1.TableColumnDefinition{
			column("Last Seen", "string", event["lastTimestamp"]), column("Type", "string", event["type"]),
			column("Reason", "string", event["reason"]), column("Object", "string", event["involvedObject"]),
			wide("Subobject", "string", object["fieldPath"]), wide("Source", "string", event["source"]),
			column("Message", "string", event["message"]), wide("First Seen", "string", event["firstTimestamp"]),
			wide("Count", "string", event["count"]),
			{Name: "Name", Type: "string", Format: "name", Priority: 1, Description: metaDocs["name"]},
		},
		row: eventRow,
	}.build()
}

// validateCoreEvent holds an event to what core's API asks for. What has an eventTime is of the newer form, and names who
// reports: controller is the name of that field.
func validateCoreEvent(e *corev1.Event, controller string) field.ErrorList {
	path := field.NewPath("involvedObject", "namespace")
	of := e.InvolvedObject.Namespace
	if e.EventTime.IsZero() {
		// events of objects without a namespace live in the default one
		if of == "" && e.Namespace != "" && e.Namespace != metav1.NamespaceDefault || of != "" && of != e.Namespace {
			return field.ErrorList{field.Invalid(path, of, "does not match event.namespace")}
		}
		return nil
	}
	var errs field.ErrorList
	if of == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		errs = append(errs, field.Invalid(path, of, "does not match event.namespace"))
	}
	errs = append(errs, validate.Required(e.ReportingController, field.NewPath(controller))...)
	errs = append(errs, validate.QualifiedName(e.ReportingController, field.NewPath(controller))...)
	errs = append(errs, requiredUpTo(e.ReportingInstance, maxReportingObject, field.NewPath("reportingInstance"))...)
	errs = append(errs, requiredUpTo(e.Action, maxEventAction, field.NewPath("action"))...)
	errs = append(errs, requiredUpTo(e.Reason, maxEventReason, field.NewPath("reason"))...)
	if len(e.Message) > maxEventNote {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxEventNote)))
	}
	return errs
}

func requiredUpTo(s string, limit int, path *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if len(s) > limit {
		return field.ErrorList{field.Invalid(path, "", fmt.Sprintf("can have at most %v characters", limit))}
	}
	return nil
}

func eventSource(e *corev1.Event) string {
	if e.Source.Component != "" {
		return e.Source.Component
	}
	return e.ReportingController
}

func eventFields(e *corev1.Event) fields.Set {
	o := e.InvolvedObject
	return fields.Set{
		"involvedObject.kind":            o.Kind,
		"involvedObject.namespace":       o.Namespace,
		"involvedObject.name":            o.Name,
		"involvedObject.uid":             string(o.UID),
		"involvedObject.apiVersion":      o.APIVersion,
		"involvedObject.resourceVersion": o.ResourceVersion,
		"involvedObject.fieldPath":       o.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         eventSource(e),
		"type":                           e.Type,
	}
}

func eventRow(e *corev1.Event, now time.Time) []any {
	first := since(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = sinceMicro(e.EventTime, now)
	}
	last := since(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := int64(e.Count)
	if e.Series != nil {
		last, count = sinceMicro(e.Series.LastObservedTime, now), int64(e.Series.Count)
	} else if count == 0 {
		count = 1 // an event of the newer form that happened once has no count
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, eventSourceText(e),
		strings.TrimSpace(e.Message), first, count, e.Name,
	}
}

func eventSourceText(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component, host = e.ReportingController, e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}
