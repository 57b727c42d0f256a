package api

import (
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
			return q, apierrors.NewBadRequest(err.Error())
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
	_, err = r.listOptions(q)
	return q, err
}

func (r *request) number(name string) (int64, error) {
	if !r.query.Has(name) {
		return 0, nil
	}
	v, err := strconv.ParseInt(r.query.Get(name), 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(err.Error())
	}
	return v, nil
}

var listOptionsKind = schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}

// listOptions holds the rules of resourceVersionMatch, KEP-2523, and of sendInitialEvents, KEP-3157. A watch of old, which
// says neither and begins nowhere, is one that has initial events sent.
func (r *request) listOptions(q registry.ListQuery) (*internalversion.ListOptions, error) {
	o := &internalversion.ListOptions{
		Watch: r.verb == "watch", ResourceVersion: q.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatch(q.ResourceVersionMatch), Continue: q.Continue,
	}
	if r.query.Has("sendInitialEvents") {
		o.SendInitialEvents = new(truth(r.query, "sendInitialEvents"))
	}
	internalversion.SetListOptionsDefaults(o, true)
	if errs := validation.ValidateListOptions(o, true); len(errs) > 0 {
		return nil, apierrors.NewInvalid(listOptionsKind, "", errs)
	}
	return o, nil
}
