package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// statusOf makes a Status of any error.
func statusOf(err error) metav1.Status {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		st := status.Status()
		st.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		if st.Status == "" {
			st.Status = metav1.StatusFailure
		}
		if st.Code == 0 {
			st.Code = http.StatusInternalServerError
		}
		return st
	case errors.Is(err, context.DeadlineExceeded):
		return statusOf(apierrors.NewTimeoutError("request did not complete within the allowed time", 1))
	}
	return statusOf(apierrors.NewInternalError(err))
}

// writeError answers with the Status of an error.
func (s *Server) writeError(w http.ResponseWriter, r *request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the client is gone
	}
	st := statusOf(err)
	if st.Code >= http.StatusInternalServerError && st.Code != http.StatusGatewayTimeout {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if st.Details != nil && st.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(st.Details.RetryAfterSeconds)))
	}
	m, negotiateErr := negotiate(r, offers{})
	if negotiateErr != nil {
		m = media{}
	}
	if r.audit != nil {
		r.audit.status(&st)
	}
	if errors.Is(err, errPathNotFound) {
		text(w, int(st.Code), st.Message+"\n")
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if m.encoding == asProtobuf {
		if body, merr := st.Marshal(); merr == nil {
			e := &envelope{typeMeta: typeMetaField("v1", "Status")}
			s.writeParts(w, r, int(st.Code), m, e.protobufParts(body))
			return
		}
		m.encoding = asJSON
	}
	data, merr := json.Marshal(st)
	if merr != nil {
		data = []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}`)
	}
	s.writeParts(w, r, int(st.Code), m, [][]byte{data})
}

// errPathNotFound is the answer to a path that nothing serves: as on Kubernetes no Status, of which clients make one that
// names what they asked for.
var errPathNotFound error = &apierrors.StatusError{ErrStatus: metav1.Status{
	Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "404 page not found",
}}

// errNoRoute is the answer to a path below a group that Kubernetes has, and that has no such path.
var errNoRoute error = &apierrors.StatusError{ErrStatus: metav1.Status{
	Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
	Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
}}

// builtinGroups are those that Kubernetes has.
var builtinGroups = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for _, k := range kind.Builtin().Served() {
		all[k.Group] = all[k.Group] || !k.Custom
	}
	for gvr := range virtuals {
		all[gvr.Group] = true
	}
	return all
})

// nothing is the answer to a resource's path that nothing serves.
func (r *request) nothing() error {
	switch {
	case r.kind != nil && r.kind.Custom && r.subresource != "":
		return apierrors.NewNotFound(r.groupResource(), r.name)
	case builtinGroups()[r.group]:
		return errNoRoute
	}
	return errPathNotFound
}

func errMethod(r *request) error {
	err := apierrors.NewMethodNotSupported(r.groupResource(), r.verb)
	if r.kind != nil && r.kind.Custom {
		return err
	}
	err.ErrStatus.Message = "the server does not allow this method on the requested resource"
	err.ErrStatus.Details = &metav1.StatusDetails{} // kube-apiserver refuses a method before it looks at the resource
	return err
}

// forbidden is the answer to what authorization refuses, in Kubernetes' words.
func forbidden(at authz.Attributes, reason string) error {
	what := fmt.Sprintf("User %q cannot %s path %q", at.User.Name, at.Verb, at.Path)
	if at.IsResource {
		resource := at.Resource
		if at.Subresource != "" {
			resource += "/" + at.Subresource
		}
		scope := "at the cluster scope"
		if at.Namespace != "" {
			scope = fmt.Sprintf("in the namespace %q", at.Namespace)
		}
		what = fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", at.User.Name, at.Verb, resource, at.Group, scope)
	}
	what = noMarkup.Replace(what)
	if reason != "" {
		what += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: at.Group, Resource: at.Resource}, at.Name, errors.New(what))
}

// noMarkup keeps what a sender chose from being read as HTML by who shows it.
var noMarkup = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
