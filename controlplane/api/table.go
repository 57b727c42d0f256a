package api

import (
	"encoding/json"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// includeOf reads includeObject: what of each object a table's row carries.
func includeOf(r *request) metav1.IncludeObjectPolicy {
	if v := r.query.Get("includeObject"); v != "" {
		return metav1.IncludeObjectPolicy(v)
	}
	return metav1.IncludeMetadata
}

func metaAPIVersion(version string) string { return metav1.GroupName + "/" + version }

// tableOf prints objects as rows.
func tableOf(k *kind.Kind, list *store.List, m media, include metav1.IncludeObjectPolicy, now time.Time) (*metav1.Table, error) {
	t := &metav1.Table{
		TypeMeta:          metav1.TypeMeta{Kind: "Table", APIVersion: metaAPIVersion(m.version)},
		ListMeta:          metav1.ListMeta{ResourceVersion: strconv.FormatInt(list.Revision, 10), Continue: list.Continue, RemainingItemCount: list.Remaining},
		ColumnDefinitions: k.Columns,
		Rows:              make([]metav1.TableRow, 0, len(list.Items)),
	}
	if t.ColumnDefinitions == nil {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{}
	}
	for _, item := range list.Items {
		row, err := rowOf(k, item.Object, m, include, now)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

func rowOf(k *kind.Kind, obj kind.Object, m media, include metav1.IncludeObjectPolicy, now time.Time) (metav1.TableRow, error) {
	row := metav1.TableRow{Cells: []any{obj.GetName()}}
	if k.Row != nil {
		row.Cells = k.Row(obj, now)
	}
	var carried any
	switch include {
	case metav1.IncludeNone:
		return row, nil
	case metav1.IncludeObject:
		carried = typedCopy(k, obj)
	case metav1.IncludeMetadata:
		carried = partialOf(obj, m.version)
	default:
		return row, apierrors.NewBadRequest("unrecognized includeObject value: " + strconv.Quote(string(include)))
	}
	raw, err := json.Marshal(carried)
	if err != nil {
		return row, apierrors.NewInternalError(err)
	}
	row.Object = runtime.RawExtension{Raw: raw}
	return row, nil
}

// typedCopy returns a copy of a stored object with its TypeMeta.
func typedCopy(k *kind.Kind, obj kind.Object) kind.Object {
	c := obj.DeepCopyObject().(kind.Object)
	c.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return c
}

// partialOf returns an object's metadata alone. It shares memory with obj.
func partialOf(obj kind.Object, version string) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: metaAPIVersion(version)}}
	if o, ok := obj.(interface{ GetObjectMeta() metav1.Object }); ok {
		if meta, ok := o.GetObjectMeta().(*metav1.ObjectMeta); ok {
			p.ObjectMeta = *meta
		}
	}
	return p
}

func partialListOf(list *store.List, version string) *metav1.PartialObjectMetadataList {
	p := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: metaAPIVersion(version)},
		ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(list.Revision, 10), Continue: list.Continue, RemainingItemCount: list.Remaining},
		Items:    make([]metav1.PartialObjectMetadata, 0, len(list.Items)),
	}
	for _, item := range list.Items {
		p.Items = append(p.Items, *partialOf(item.Object, version))
	}
	return p
}
