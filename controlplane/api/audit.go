package api

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// AuditLevel is how much of a request the audit log keeps.
type AuditLevel string

// The levels, as in audit.k8s.io/v1.
const (
	AuditNone            AuditLevel = "None"
	AuditMetadata        AuditLevel = "Metadata"
	AuditRequest         AuditLevel = "Request"
	AuditRequestResponse AuditLevel = "RequestResponse"
)

// Audit configures the audit log: JSON lines of audit.k8s.io/v1 events, one a request, at its end.
type Audit struct {
	// Path of the file; empty means no log.
	Path string
	// Level is AuditMetadata when empty. Secrets, ConfigMaps and tokens are never logged beyond metadata.
	Level AuditLevel
	// MaxMiB is the size at which the file is rotated (100), MaxKeep how many old files are kept (10).
	MaxMiB, MaxKeep int
	// Writer, when set, takes the lines instead of Path.
	Writer io.Writer
}

// auditLog writes events through a buffer that is flushed when it is full and every second, so that a request
// does not wait for the disk.
type auditLog struct {
	level AuditLevel
	log   *slog.Logger

	mu      sync.Mutex
	out     io.Writer
	closer  io.Closer
	buf     []byte
	timer   *time.Timer // set while something waits in buf
	closed  bool
	failing bool
}

const (
	auditBuffer = 64 << 10
	auditDelay  = time.Second
)

func newAuditLog(c Audit, log *slog.Logger) (*auditLog, error) {
	a := &auditLog{level: c.Level, log: log, out: c.Writer}
	switch c.Level {
	case "":
		a.level = AuditMetadata
	case AuditNone, AuditMetadata, AuditRequest, AuditRequestResponse:
	default:
		return nil, fmt.Errorf("cannot audit at level %q: it is None, Metadata, Request or RequestResponse", c.Level)
	}
	if a.out == nil && c.Path != "" {
		if c.MaxMiB == 0 {
			c.MaxMiB = 100
		}
		if c.MaxKeep == 0 {
			c.MaxKeep = 10
		}
		file := &lumberjack.Logger{Filename: c.Path, MaxSize: c.MaxMiB, MaxBackups: c.MaxKeep}
		a.out, a.closer = file, file
	}
	if a.out == nil {
		a.level = AuditNone
	}
	return a, nil
}

// auditEvent is what is kept of a request while it runs; nil means that it is not audited. All methods may be
// called on nil.
type auditEvent struct {
	level    AuditLevel
	received time.Time
	object   metav1.Object
	reqBody  any
	respBody any
	failure  *metav1.Status
}

// begin returns the event of a request, or nil.
func (a *auditLog) begin(r *request) *auditEvent {
	if a.level == AuditNone || !r.resource && r.verb == "get" {
		return nil
	}
	level := a.level
	if secretive(r) {
		level = AuditMetadata
	}
	return &auditEvent{level: level, received: time.Now()}
}

// secretive requests are never logged with their bodies.
func secretive(r *request) bool {
	switch r.plural {
	case "secrets", "configmaps", "tokenreviews":
		return true
	}
	return r.subresource == "token"
}

func (e *auditEvent) request(obj kind.Object) {
	if e == nil {
		return
	}
	e.object = obj
	if e.level == AuditRequest || e.level == AuditRequestResponse {
		e.reqBody = obj.DeepCopyObject()
	}
}

func (e *auditEvent) requestRaw(_ types.PatchType, data []byte) {
	if e != nil && (e.level == AuditRequest || e.level == AuditRequestResponse) && json.Valid(data) {
		e.reqBody = json.RawMessage(data)
	}
}

func (e *auditEvent) response(obj kind.Object) {
	if e == nil {
		return
	}
	e.object = obj
	if e.level == AuditRequestResponse {
		e.respBody = obj
	}
}

func (e *auditEvent) status(st *metav1.Status) {
	if e != nil {
		e.failure = st
	}
}

// line is an audit.k8s.io/v1 Event.
type line struct {
	Kind         string           `json:"kind"`
	APIVersion   string           `json:"apiVersion"`
	Level        AuditLevel       `json:"level"`
	AuditID      types.UID        `json:"auditID"`
	Stage        string           `json:"stage"`
	RequestURI   string           `json:"requestURI"`
	Verb         string           `json:"verb"`
	User         lineUser         `json:"user"`
	Impersonated *lineUser        `json:"impersonatedUser,omitempty"`
	SourceIPs    []string         `json:"sourceIPs,omitempty"`
	UserAgent    string           `json:"userAgent,omitempty"`
	ObjectRef    *lineObject      `json:"objectRef,omitempty"`
	Response     lineResponse     `json:"responseStatus"`
	ReqBody      any              `json:"requestObject,omitempty"`
	RespBody     any              `json:"responseObject,omitempty"`
	Received     metav1.MicroTime `json:"requestReceivedTimestamp"`
	Done         metav1.MicroTime `json:"stageTimestamp"`
}

type lineUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

type lineObject struct {
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	APIGroup        string `json:"apiGroup,omitempty"`
	APIVersion      string `json:"apiVersion"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Subresource     string `json:"subresource,omitempty"`
}

type lineResponse struct {
	Status  string              `json:"status,omitempty"`
	Reason  metav1.StatusReason `json:"reason,omitempty"`
	Message string              `json:"message,omitempty"`
	Code    int                 `json:"code"`
}

func userLine(u *kind.User) lineUser { return lineUser{u.Name, u.UID, u.Groups, u.Extra} }

// end writes the event of a finished request.
func (a *auditLog) end(r *request, code int) {
	e := r.audit
	now := time.Now()
	l := line{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: e.level, AuditID: uuid.NewUUID(), Stage: "ResponseComplete",
		RequestURI: r.URL.RequestURI(), Verb: r.verb, User: userLine(r.user), SourceIPs: []string{host(r.RemoteAddr)}, UserAgent: r.Header.Get("User-Agent"),
		Response: lineResponse{Code: code}, ReqBody: e.reqBody, RespBody: e.respBody,
		Received: metav1.NewMicroTime(e.received), Done: metav1.NewMicroTime(now),
	}
	if r.actor != nil {
		l.User = userLine(r.actor)
		impersonated := userLine(r.user)
		l.Impersonated = &impersonated
	}
	if e.failure != nil {
		l.Response = lineResponse{Status: e.failure.Status, Reason: e.failure.Reason, Message: e.failure.Message, Code: int(e.failure.Code)}
	}
	if r.resource {
		l.ObjectRef = &lineObject{Resource: r.plural, Namespace: r.namespace, Name: r.name, APIGroup: r.group, APIVersion: r.version, Subresource: r.subresource}
		if e.object != nil && e.failure == nil {
			l.ObjectRef.Name, l.ObjectRef.UID, l.ObjectRef.ResourceVersion = e.object.GetName(), string(e.object.GetUID()), e.object.GetResourceVersion()
		}
	}
	data, err := json.Marshal(&l)
	if err != nil {
		a.log.Error("cannot encode audit event", "error", err)
		return
	}
	a.write(append(data, '\n'))
}

func (a *auditLog) write(data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buf = append(a.buf, data...)
	if a.closed || len(a.buf) >= auditBuffer {
		a.flush()
		return
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(auditDelay, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.flush()
		})
	}
}

// flush writes what waits. The caller holds the lock.
func (a *auditLog) flush() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if len(a.buf) == 0 {
		return
	}
	_, err := a.out.Write(a.buf)
	if err != nil && !a.failing {
		a.log.Error("cannot write audit log", "error", err)
	}
	a.failing = err != nil
	a.buf = a.buf[:0]
}

// close writes what waits and closes the file.
func (a *auditLog) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == nil {
		return nil
	}
	a.flush()
	a.closed = true
	if a.closer == nil {
		return nil
	}
	if err := a.closer.Close(); err != nil {
		return fmt.Errorf("cannot close audit log: %w", err)
	}
	return nil
}
