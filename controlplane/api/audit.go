package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Audit configures the audit log: JSON lines of audit.k8s.io/v1 events, one for each stage of a request that is kept.
type Audit struct {
	// Path of the file; empty means no log.
	Path string
	// Level is AuditMetadata when empty. By it a request is logged once, at its end, and Secrets, ConfigMaps and
	// tokens are never logged beyond metadata.
	Level AuditLevel
	// Policy, when set, takes the place of Level.
	Policy *auditv1.Policy
	// MaxMiB is the size at which the file is rotated (100), MaxKeep how many old files are kept (10).
	MaxMiB, MaxKeep int
	// Writer, when set, takes the lines instead of Path.
	Writer io.Writer
}

// auditLog writes events through a buffer that is flushed when it is full and every second, so that a request
// does not wait for the disk.
type auditLog struct {
	policy *auditPolicy // nil: nothing is kept
	log    *slog.Logger

	mu      sync.Mutex
	out     io.Writer
	closer  io.Closer
	buf     []byte
	fits    int         // bytes that one write may have; 0 means any number
	timer   *time.Timer // set while something waits in buf
	closed  bool
	failing bool
}

const (
	auditBuffer = 64 << 10
	auditDelay  = time.Second
)

func newAuditLog(c Audit, log *slog.Logger) (*auditLog, error) {
	a := &auditLog{log: log, out: c.Writer}
	if c.Level == "" {
		c.Level = AuditMetadata
	}
	if !slices.Contains(config.AuditLevels, c.Level) {
		return nil, fmt.Errorf("cannot audit at level %q: it is None, Metadata, Request or RequestResponse", c.Level)
	}
	switch {
	case c.Policy != nil:
		a.policy = &auditPolicy{c.Policy}
	case c.Level != AuditNone:
		a.policy = levelPolicy(c.Level)
	}
	if a.out == nil && c.Path != "" {
		if c.MaxMiB == 0 {
			c.MaxMiB = 100
		}
		if c.MaxKeep == 0 {
			c.MaxKeep = 10
		}
		file := &lumberjack.Logger{Filename: c.Path, MaxSize: c.MaxMiB, MaxBackups: c.MaxKeep}
		a.out, a.closer, a.fits = file, file, c.MaxMiB<<20
	}
	if a.out == nil {
		a.policy = nil
	}
	return a, nil
}

// auditEvent is what is kept of a request while it runs; nil means that it is not audited. All methods may be
// called on nil, and all but annotate are called by the request's own goroutine.
type auditEvent struct {
	auditDecision
	id       types.UID
	received time.Time
	object   metav1.Object
	reqBody  any
	respBody any
	failure  *metav1.Status

	mu          sync.Mutex // a deletion of a collection annotates from several goroutines
	annotations map[string]string
}

// auditID is a header by which a client names its request, and the server in its answer.
const auditID = "Audit-Id"

// maxAuditID is how long a client's name of a request may be.
const maxAuditID = 64

// begin returns the event of a request, or nil.
func (a *auditLog) begin(w http.ResponseWriter, r *request) *auditEvent {
	id := types.UID(r.Header.Get(auditID))
	if id == "" || len(id) > maxAuditID {
		id = uuid.NewUUID()
	}
	w.Header().Set(auditID, string(id)) // also of what no log keeps
	if a.policy == nil {
		return nil
	}
	u := r.user
	if u == nil { // who sent it is not known
		u = &kind.User{}
	}
	d := a.policy.decide(r, u)
	if d.level == AuditNone {
		return nil
	}
	e := &auditEvent{auditDecision: d, received: time.Now(), id: id}
	r.audit = e
	a.stage(r, auditv1.StageRequestReceived, 0)
	return e
}

// annotate adds what a part of the server has to say of the request; the first word on a key stays.
func (e *auditEvent) annotate(key, value string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.annotations == nil {
		e.annotations = map[string]string{}
	}
	if _, ok := e.annotations[key]; !ok {
		e.annotations[key] = value
	}
}

// authorized notes the authorizer's decision.
func (e *auditEvent) authorized(allowed bool, reason string) {
	decision := "forbid"
	if allowed {
		decision = "allow"
	}
	e.annotate("authorization.k8s.io/decision", decision)
	e.annotate("authorization.k8s.io/reason", reason)
}

func (e *auditEvent) keepsRequest() bool {
	return e.level == AuditRequest || e.level == AuditRequestResponse
}

func (e *auditEvent) request(obj kind.Object) {
	if e == nil {
		return
	}
	e.object = obj
	if e.keepsRequest() {
		e.reqBody = e.copy(obj)
	}
}

func (e *auditEvent) requestRaw(_ types.PatchType, data []byte) {
	if e != nil && e.keepsRequest() && json.Valid(data) {
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
		if e.dropManaged && len(obj.GetManagedFields()) > 0 {
			e.respBody = e.copy(obj)
		}
	}
}

// copy returns obj as the log is to have it: its own, since the request goes on to change it.
func (e *auditEvent) copy(obj kind.Object) kind.Object {
	out := obj.DeepCopyObject().(kind.Object)
	if e.dropManaged {
		out.SetManagedFields(nil)
	}
	return out
}

func (e *auditEvent) status(st *metav1.Status) {
	if e != nil {
		e.failure = st
	}
}

// line is an audit.k8s.io/v1 Event.
type line struct {
	Kind         string            `json:"kind"`
	APIVersion   string            `json:"apiVersion"`
	Level        AuditLevel        `json:"level"`
	AuditID      types.UID         `json:"auditID"`
	Stage        auditv1.Stage     `json:"stage"`
	RequestURI   string            `json:"requestURI"`
	Verb         string            `json:"verb"`
	User         lineUser          `json:"user"`
	Impersonated *lineUser         `json:"impersonatedUser,omitempty"`
	Authn        *lineAuthn        `json:"authenticationMetadata,omitempty"`
	SourceIPs    []string          `json:"sourceIPs,omitempty"`
	UserAgent    string            `json:"userAgent,omitempty"`
	ObjectRef    *lineObject       `json:"objectRef,omitempty"`
	Response     *lineResponse     `json:"responseStatus,omitempty"`
	ReqBody      any               `json:"requestObject,omitempty"`
	RespBody     any               `json:"responseObject,omitempty"`
	Received     metav1.MicroTime  `json:"requestReceivedTimestamp"`
	Done         metav1.MicroTime  `json:"stageTimestamp"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type lineUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

type lineAuthn struct {
	Constraint string `json:"impersonationConstraint"`
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
func (a *auditLog) end(r *request, code int) { a.stage(r, auditv1.StageResponseComplete, code) }

// stage writes the event of a request at one of its stages, if that is kept.
func (a *auditLog) stage(r *request, stage auditv1.Stage, code int) {
	e := r.audit
	if e == nil || e.omits(stage) {
		return
	}
	l := line{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: e.level, AuditID: e.id, Stage: stage,
		RequestURI: r.URL.RequestURI(), Verb: r.verb, SourceIPs: []string{host(r.RemoteAddr)}, UserAgent: r.Header.Get("User-Agent"),
		ReqBody: e.reqBody, Received: metav1.NewMicroTime(e.received), Done: metav1.NewMicroTime(time.Now()), Annotations: e.annotations,
	}
	if code != 0 {
		l.Response = &lineResponse{Code: code}
	}
	if stage == auditv1.StageResponseComplete {
		l.RespBody = e.respBody
	}
	if r.user != nil {
		l.User = userLine(r.user)
	}
	if r.actor != nil {
		l.User = userLine(r.actor)
		impersonated := userLine(r.user)
		l.Impersonated = &impersonated
		if r.constraint != "" {
			l.Authn = &lineAuthn{r.constraint}
		}
	}
	if e.failure != nil {
		l.Response = &lineResponse{Status: e.failure.Status, Reason: e.failure.Reason, Message: e.failure.Message, Code: int(e.failure.Code)}
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
	var err error
	if a.fits == 0 || len(a.buf) <= a.fits {
		_, err = a.out.Write(a.buf)
	} else { // a file takes no write that is larger than itself
		for line := range bytes.Lines(a.buf) {
			_, e := a.out.Write(line)
			err = errors.Join(err, e)
		}
	}
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
