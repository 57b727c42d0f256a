package api

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var deleteOptionsKind = schema.GroupVersionKind{Group: metav1.GroupName, Version: "v1", Kind: "DeleteOptions"}

// deleteOptions reads the options of a delete from body and parameters.
func (r *request) deleteOptions() (*metav1.DeleteOptions, error) {
	opts := &metav1.DeleteOptions{}
	data, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		if err := r.decodeDeleteOptions(data, opts); err != nil {
			return nil, err
		}
	} else if err := r.deleteParams(opts); err != nil {
		return nil, err
	}
	return opts, checkDeleteOptions(opts)
}

func (r *request) decodeDeleteOptions(data []byte, opts *metav1.DeleteOptions) error {
	enc, err := bodyEncoding(r)
	if err != nil {
		return err
	}
	switch enc {
	case asProtobuf:
		err = decodeProtobuf(data, opts)
	case asYAML:
		_, err = decodeYAML(r, data, opts)
	default:
		_, err = decodeJSON(r, data, opts)
	}
	var bad *garbled
	if errors.As(err, &bad) {
		return apierrors.NewBadRequest(bad.Error())
	}
	if err != nil {
		return err
	}
	gv, err := schema.ParseGroupVersion(opts.APIVersion)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if said := saidType(gv.WithKind(opts.Kind), deleteOptionsKind); said.Kind != deleteOptionsKind.Kind {
		return apierrors.NewBadRequest(notRegistered(said).Error())
	}
	return nil
}

func (r *request) deleteParams(opts *metav1.DeleteOptions) error {
	if r.query.Has("gracePeriodSeconds") {
		v, err := r.number("gracePeriodSeconds")
		if err != nil {
			return err
		}
		opts.GracePeriodSeconds = &v
	}
	if v := r.query.Get("propagationPolicy"); v != "" {
		policy := metav1.DeletionPropagation(v)
		opts.PropagationPolicy = &policy
	}
	if r.query.Has("orphanDependents") {
		v := truth(r.query, "orphanDependents")
		opts.OrphanDependents = &v
	}
	opts.DryRun = r.query["dryRun"]
	return nil
}

func checkDeleteOptions(opts *metav1.DeleteOptions) error {
	if err := invalidOptions("DeleteOptions", metav1validation.ValidateDeleteOptions(opts)); err != nil {
		return err
	}
	if opts.GracePeriodSeconds != nil && *opts.GracePeriodSeconds < 0 {
		one := int64(1)
		opts.GracePeriodSeconds = &one
	}
	return nil
}

func (s *Server) delete(w http.ResponseWriter, r *request) error {
	opts, err := r.deleteOptions()
	if err != nil {
		return err
	}
	o, err := r.write()
	if err != nil {
		return err
	}
	item, gone, err := s.registry.Delete(r.Context(), r.kind, r.objectNamespace(), r.name, opts, o)
	if err != nil {
		return err
	}
	if !gone || returnsDeleted[r.groupResource()] {
		s.writeItem(w, r, deletedCode(gone, opts), r.kind, item)
		return nil
	}
	s.answer(w, r, http.StatusOK, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: item.Object.GetName(), Group: r.group, Kind: r.plural, UID: item.Object.GetUID()},
	})
	return nil
}

// deletedCode is 202 for a deletion that waits for dependents when the old form of the option asked for that.
func deletedCode(gone bool, opts *metav1.DeleteOptions) int {
	if !gone && opts.OrphanDependents != nil && !*opts.OrphanDependents {
		return http.StatusAccepted
	}
	return http.StatusOK
}

// returnsDeleted are the resources whose delete answers with the object that went, as kube-apiserver has it.
var returnsDeleted = map[schema.GroupResource]bool{
	{Resource: "pods"}:                                       true,
	{Resource: "services"}:                                   true,
	{Resource: "serviceaccounts"}:                            true,
	{Resource: "persistentvolumes"}:                          true,
	{Resource: "persistentvolumeclaims"}:                     true,
	{Resource: "podtemplates"}:                               true,
	{Resource: "resourcequotas"}:                             true,
	{Group: "storage.k8s.io", Resource: "storageclasses"}:    true,
	{Group: "storage.k8s.io", Resource: "csidrivers"}:        true,
	{Group: "storage.k8s.io", Resource: "csinodes"}:          true,
	{Group: "storage.k8s.io", Resource: "volumeattachments"}: true,
}

func (s *Server) deleteCollection(w http.ResponseWriter, r *request) error {
	q, err := r.listQuery()
	if err != nil {
		return err
	}
	opts, err := r.deleteOptions()
	if err != nil {
		return err
	}
	o, err := r.write()
	if err != nil {
		return err
	}
	list, err := s.registry.DeleteCollection(r.Context(), r.kind, q, opts, o)
	if err != nil {
		return err
	}
	s.writeList(w, r, r.kind, list)
	return nil
}
