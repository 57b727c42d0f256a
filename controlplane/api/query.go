package api

import (
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
)

// listQuery reads the parameters of list, watch and deletecollection.
func (r *request) listQuery() (registry.ListQuery, error) {
	q := registry.ListQuery{Namespace: r.objectNamespace()}
	if len(r.query) == 0 {
		return q, nil
	}
	var err error
	if text := r.query.Get("labelSelector"); text != "" {
		if q.Labels, err = labels.Parse(text); err != nil {
			return q, apierrors.NewBadRequest(err.Error())
		}
	}
	if text := r.query.Get("fieldSelector"); text != "" {
		if q.Fields, err = fields.ParseSelector(text); err != nil {
			return q, apierrors.NewBadRequest(fmt.Sprintf("invalid field selector %q: %v", text, err))
		}
	}
	q.ResourceVersion = r.query.Get("resourceVersion")
	q.ResourceVersionMatch = r.query.Get("resourceVersionMatch")
	q.Continue = r.query.Get("continue")
	if q.Limit, err = r.number("limit"); err != nil {
		return q, err
	}
	q.Limit = max(q.Limit, 0) // less than one object is no limit
	if _, err := r.number("timeoutSeconds"); err != nil {
		return q, err
	}
	return q, checkVersionMatch(q, r.verb == "watch", r.query.Has("sendInitialEvents"))
}

func (r *request) number(name string) (int64, error) {
	text := r.query.Get(name)
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(err.Error())
	}
	return v, nil
}

var listOptionsKind = schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}

// checkVersionMatch holds the rules of resourceVersionMatch, KEP-2523, and of sendInitialEvents, KEP-3157.
func checkVersionMatch(q registry.ListQuery, watch, initial bool) error {
	path := field.NewPath("resourceVersionMatch")
	m := metav1.ResourceVersionMatch(q.ResourceVersionMatch)
	known := []metav1.ResourceVersionMatch{metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan, ""}
	if watch {
		known = known[1:2]
	}
	var errs field.ErrorList
	switch {
	case initial && !watch:
		errs = append(errs, field.Forbidden(field.NewPath("sendInitialEvents"), "sendInitialEvents is forbidden for list"))
	case initial && m != metav1.ResourceVersionMatchNotOlderThan:
		errs = append(errs, field.Forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
	}
	if m == "" {
		return invalidList(errs)
	}
	if watch && !initial {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
	}
	if !watch && q.ResourceVersion == "" {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
	}
	if q.Continue != "" {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
	}
	if !slices.Contains(known, m) {
		errs = append(errs, field.NotSupported(path, m, known))
	}
	if !watch && m == metav1.ResourceVersionMatchExact && q.ResourceVersion == "0" {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""))
	}
	return invalidList(errs)
}

func invalidList(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(listOptionsKind, "", errs)
}
