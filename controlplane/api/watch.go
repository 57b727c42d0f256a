package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// minWatch is how long a watch without timeoutSeconds lasts at least; up to as much again is added by chance, so
// that clients do not come back all at once.
const minWatch = 30 * time.Minute

// maxWatchSeconds bounds timeoutSeconds to what a duration holds.
const maxWatchSeconds = 1 << 32

func (s *Server) watch(w http.ResponseWriter, r *request) error {
	q, timeout, err := r.watchQuery()
	if err != nil {
		return err
	}
	m, err := negotiate(r, r.objectOffers())
	if err != nil {
		return err
	}
	if r.name != "" { // the old path /watch/…/NAME
		q.Namespace = r.objectNamespace()
	}
	events, err := s.registry.Watch(r.Context(), r.kind, q)
	if err != nil {
		return err
	}
	defer events.Stop()
	h := w.Header()
	h.Set("Content-Type", watchType(m))
	h.Set("Cache-Control", "no-cache, private")
	r.setWarnings(h)
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	if err := flush.Flush(); err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	f := &frames{server: s, request: r, kind: r.kind, media: m, envelope: s.envelope(r.kind)}
	s.audit.stage(r, auditv1.StageResponseStarted, http.StatusOK)
	s.metrics.watches.Inc()
	defer s.metrics.watches.Dec()
	sent := s.metrics.watchEvents(r.kind)
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	reader := newPatience(w, s.patience)
	defer reader.end()
	reader.pause()
	for batch := events.Next(ctx); batch != nil; batch = events.Next(ctx) {
		sent.Add(float64(len(batch)))
		if err := s.registry.PresentEvents(r.Context(), r.kind, batch); err != nil {
			reader.resume()
			writeAll(w, f.fail(err))
			_ = flush.Flush()
			return nil
		}
		reader.resume()
		if f.write(w, batch) != nil || flush.Flush() != nil {
			return nil
		}
		reader.pause()
	}
	reader.resume()
	if err := events.Err(); err != nil && r.Context().Err() == nil {
		writeAll(w, f.fail(err))
		_ = flush.Flush()
	}
	return nil
}

func (r *request) watchQuery() (registry.WatchQuery, time.Duration, error) {
	list, err := r.listQuery()
	if err != nil {
		return registry.WatchQuery{}, 0, err
	}
	if list.Fields, err = r.onlyNamed(list.Fields); err != nil {
		return registry.WatchQuery{}, 0, err
	}
	o, err := r.listOptions(list)
	if err != nil {
		return registry.WatchQuery{}, 0, err
	}
	q := registry.WatchQuery{ListQuery: list, AllowBookmarks: truth(r.query, "allowWatchBookmarks")}
	if o.SendInitialEvents != nil {
		q.SendInitialEvents, q.NoInitialEvents = *o.SendInitialEvents, !*o.SendInitialEvents
	}
	seconds, err := r.number("timeoutSeconds")
	if err != nil {
		return q, 0, err
	}
	if seconds != 0 { // less has gone by already
		return q, time.Duration(max(-1, min(seconds, maxWatchSeconds))) * time.Second, nil
	}
	return q, minWatch + rand.N(minWatch), nil
}

// onlyNamed selects the object that the old path /watch/…/NAME names.
func (r *request) onlyNamed(sel fields.Selector) (fields.Selector, error) {
	if r.name == "" {
		return sel, nil
	}
	if sel != nil && !sel.Empty() {
		if name, ok := sel.RequiresExactMatch("metadata.name"); !ok || name != r.name {
			return nil, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
		}
	}
	return fields.OneTermEqualSelector("metadata.name", r.name), nil
}

func watchType(m media) string {
	if m.encoding == asProtobuf {
		return typeProtobuf + ";stream=watch"
	}
	return typeJSON
}

// keptPieces is how many pieces of a batch a watch keeps the memory for.
const keptPieces = 64

// frames writes the events of one watch in one encoding.
type frames struct {
	server   *Server
	request  *request
	kind     *kind.Kind
	media    media
	envelope *envelope
	columns  bool     // a table's columns have been sent
	pieces   [][]byte // memory for those of a batch
}

var eventNames = map[store.EventType]string{store.Added: "ADDED", store.Modified: "MODIFIED", store.Deleted: "DELETED", store.Bookmark: "BOOKMARK"}

// write writes a batch; most of its bytes are the objects' shared ones.
func (f *frames) write(w http.ResponseWriter, batch []store.Event) error {
	pieces := f.pieces[:0]
	for i := range batch {
		p, err := f.parts(&batch[i])
		if err != nil {
			pieces = append(pieces, f.fail(err)...)
			break
		}
		pieces = append(pieces, p...)
	}
	writeAll(w, pieces)
	clear(pieces) // a watch that waits holds no objects
	if f.pieces = pieces; cap(pieces) > keptPieces {
		f.pieces = nil
	}
	return f.request.Context().Err()
}

// parts returns one event framed.
func (f *frames) parts(e *store.Event) ([][]byte, error) {
	name := eventNames[e.Type]
	if e.Type == store.Bookmark {
		return f.whole(name, f.bookmark(e))
	}
	switch f.media.transform {
	case asTable:
		return f.row(name, e.Item)
	case asPartial:
		return f.whole(name, partialOf(e.Item.Object, f.media.version))
	}
	return f.server.frames.frame(frameKey{e.Item, e.Type, f.envelope, f.media.encoding}, func() ([][]byte, error) {
		parts, err := f.envelope.parts(e.Item, f.media.encoding)
		if err != nil {
			return nil, err
		}
		return f.frame(name, parts), nil
	})
}

// bookmark is an object of the watch's kind that has nothing but its version.
func (f *frames) bookmark(e *store.Event) any {
	obj := f.kind.New()
	obj.GetObjectKind().SetGroupVersionKind(f.kind.GroupVersionKind)
	obj.SetResourceVersion(strconv.FormatInt(e.Revision, 10))
	if e.InitialEventsEnd {
		obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	switch f.media.transform {
	case asPartial:
		return partialOf(obj, f.media.version)
	case asTable:
		return &metav1.Table{
			TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: metaAPIVersion(f.media.version)},
			ListMeta: metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()},
			Rows:     []metav1.TableRow{f.bookmarkRow(obj)},
		}
	}
	return obj
}

func (f *frames) bookmarkRow(obj kind.Object) metav1.TableRow {
	row, err := rowOf(f.kind, obj, f.media, metav1.IncludeMetadata, f.server.now())
	if err != nil {
		return metav1.TableRow{Cells: []any{}}
	}
	return row
}

// row is an event of a table with one row; only the first one carries the columns.
func (f *frames) row(name string, item *store.Item) ([][]byte, error) {
	list := &store.List{Items: []*store.Item{item}, Revision: item.Revision}
	t, err := tableOf(f.kind, list, f.media, includeOf(f.request), f.server.now())
	if err != nil {
		return nil, err
	}
	t.ResourceVersion = item.Object.GetResourceVersion()
	if f.columns {
		t.ColumnDefinitions = nil
	}
	f.columns = true
	return f.whole(name, t)
}

// whole frames an object that is not in the store.
func (f *frames) whole(name string, obj any) ([][]byte, error) {
	if f.media.encoding == asProtobuf {
		m, ok := obj.(interface {
			Marshal() ([]byte, error)
			GetObjectKind() schema.ObjectKind
		})
		if ok {
			body, err := m.Marshal()
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			gvk := m.GetObjectKind().GroupVersionKind()
			e := &envelope{typeMeta: typeMetaField(gvk.GroupVersion().String(), gvk.Kind)}
			return f.frame(name, e.protobufParts(body)), nil
		}
		return nil, apierrors.NewInternalError(fmt.Errorf("cannot encode a %T as protobuf", obj))
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return f.frame(name, [][]byte{data}), nil
}

// frame wraps an encoded object as a watch event: a line of JSON, or a protobuf WatchEvent behind its length.
func (f *frames) frame(name string, object [][]byte) [][]byte {
	if f.media.encoding != asProtobuf {
		parts := make([][]byte, 0, len(object)+2)
		parts = append(parts, []byte(`{"type":"`+name+`","object":`))
		parts = append(parts, object...)
		return append(parts, []byte("}\n"))
	}
	size := 0
	for _, p := range object {
		size += len(p)
	}
	raw := fieldHead(1, size)                       // runtime.RawExtension.raw
	ext := fieldHead(2, len(raw)+size)              // WatchEvent.object
	head := appendBytesField(nil, 1, []byte(name))  // WatchEvent.type
	total := len(head) + len(ext) + len(raw) + size // of the frame
	lead := binary.BigEndian.AppendUint32(nil, uint32(total))
	lead = append(append(append(lead, head...), ext...), raw...)
	return append([][]byte{lead}, object...)
}

// fail frames the error that ends a watch.
func (f *frames) fail(err error) [][]byte {
	st := statusOf(err)
	parts, encodeErr := f.whole("ERROR", &st)
	if encodeErr != nil {
		return nil
	}
	return parts
}
