package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// causesOf returns the causes that an API error lists.
func causesOf(err error) []metav1.StatusCause {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	return status.Status().Details.Causes
}

// isGone reports whether an error says that the object does not exist. It does not cover a server that does not know the
// kind or the path, which answers 404 too: that is no reason to drop an object from the state.
func isGone(err error) bool {
	unexpected := slices.ContainsFunc(causesOf(err), func(c metav1.StatusCause) bool {
		return c.Type == metav1.CauseTypeUnexpectedServerResponse
	})
	return apierrors.IsNotFound(err) && !unexpected
}

// conflicts returns the causes of an error that another field manager is behind.
func conflicts(err error) []metav1.StatusCause {
	if !apierrors.IsConflict(err) {
		return nil
	}
	var found []metav1.StatusCause
	for _, cause := range causesOf(err) {
		if cause.Type == metav1.CauseTypeFieldManagerConflict {
			found = append(found, cause)
		}
	}
	return found
}

// report turns an error of an operation ("create", "update") into diagnostics, on the attributes that it names.
func (k *engine) report(diags *diag.Diagnostics, verb string, id identity, plan tftypes.Value, err error) {
	var failure *Failure
	what := fmt.Sprintf("%s %s", k.kindName(), id.local())
	switch found := conflicts(err); {
	case errors.As(err, &failure):
		diags.AddError(failure.Summary, failure.Detail)
	case len(found) > 0:
		k.reportConflicts(diags, what, plan, found)
	case apierrors.IsInvalid(err) && len(causesOf(err)) > 0:
		for _, cause := range causesOf(err) {
			at := k.attributePath(cause.Field, plan)
			addError(diags, at, fmt.Sprintf("Cannot %s %s", verb, what), fmt.Sprintf("The API server refuses %s: %s", cause.Field, cause.Message))
		}
	default:
		diags.AddError(fmt.Sprintf("Cannot %s %s", verb, what), sentence(err)+advice(err))
	}
}

func (k *engine) reportConflicts(diags *diag.Diagnostics, what string, plan tftypes.Value, found []metav1.StatusCause) {
	for _, cause := range found {
		addError(diags, k.attributePath(cause.Field, plan), "Cannot take over a field of "+what,
			fmt.Sprintf("%s is owned by another field manager: %s.\n\nRemove the attribute from the configuration to leave the field to that manager, "+
				"or set force_conflicts = true to take it over.", strings.TrimPrefix(cause.Field, "."), cause.Message))
	}
}

// attributePath returns the attribute that a path of the API means; the empty path when there is none.
func (k *engine) attributePath(text string, plan tftypes.Value) path.Path {
	name, _, _ := strings.Cut(strings.TrimPrefix(text, "."), ".")
	name, _, _ = strings.Cut(name, "[")
	for _, w := range k.desc.WriteOnly {
		if w.Field == name {
			return path.Root(w.Text)
		}
	}
	return k.root.locate(text, plan).at
}

func addError(diags *diag.Diagnostics, at path.Path, summary, detail string) {
	if len(at.Steps()) == 0 {
		diags.AddError(summary, detail)
		return
	}
	diags.AddAttributeError(at, summary, detail)
}

// sentence says what an error is, and who says so.
func sentence(err error) string {
	text := strings.TrimSuffix(err.Error(), ".") + "."
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return "The API server answers: " + text
	}
	return upperFirst(text)
}

// advice says what to do about errors that people meet often.
func advice(err error) string {
	switch {
	case apierrors.IsUnauthorized(err):
		return "\n\nThe cluster does not accept the provider's credentials."
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "being terminated"):
		return "\n\nThe namespace is being deleted: apply again when it is gone."
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return "\n\nRaise the namespace's resource quota, or ask for less."
	case apierrors.IsForbidden(err):
		return "\n\nThe provider's user may not do this; kubectl auth can-i --list shows what it may."
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), "namespaces "):
		return "\n\nThe namespace does not exist: make it with fairlead_namespace and refer to it, so that it is created first."
	case errors.Is(err, context.DeadlineExceeded):
		return "\n\nThe time was up; raise it with timeouts, if the cluster is only slow."
	default:
		return ""
	}
}
