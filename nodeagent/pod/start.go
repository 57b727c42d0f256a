package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/probe"
)

// starting is an attempt to start a container, in an operation of its own. It reads what it was given and nothing of
// the worker's.
type starting struct {
	w       *worker
	pod     *corev1.Pod
	spec    *corev1.Container
	attempt int32
	prep    *preparation
	joinPID string

	id     string
	log    string
	image  *image.Image
	at     time.Time
	steps  []any // how long each step took, for the log
	last   time.Time
	err    error
	reason string // of err, as the container's state shows it
	ran    bool   // err came when the container was being created, with everything there
}

// configRetry is the pause before a container is tried again whose configuration could not be resolved: what it refers to
// may appear.
const configRetry = 5 * time.Second

// unavailableRetry is the pause while containerd does not answer.
const unavailableRetry = time.Second

// pullReported is how long a failed pull shows as such before it shows as backed off.
const pullReported = time.Second

func (w *worker) startContainer(c *corev1.Container, attempt int32) {
	l := w.liveOf(c.Name)
	l.op, l.exited, l.ended = opStart, false, make(chan struct{})
	s := &starting{
		w: w, pod: w.pod, spec: c, attempt: attempt, prep: w.prep,
		id: container.NewID(), joinPID: w.sharedPID(c),
	}
	l.id = s.id
	s.log = w.logPath(c.Name, attempt)
	ctx := w.activeCtx
	w.m.claim(s.id, w)
	w.operate(func() { s.err = s.run(ctx) }, func() { w.started(s) })
}

func (w *worker) logPath(name string, attempt int32) string {
	return filepath.Join(w.logDir, name, strconv.Itoa(int(attempt))+".log")
}

// sharedPID is the container whose process namespace c joins, or "". With shareProcessNamespace that is the first of the
// pod's containers that runs, whose end ends the others' processes as well: they then restart by their policy.
func (w *worker) sharedPID(c *corev1.Container) string {
	for i := range w.pod.Spec.EphemeralContainers {
		e := &w.pod.Spec.EphemeralContainers[i]
		if e.Name == c.Name && e.TargetContainerName != "" {
			if rec := w.rec.Containers[e.TargetContainerName]; rec.running() {
				return rec.ID
			}
		}
	}
	if s := w.pod.Spec.ShareProcessNamespace; s == nil || !*s {
		return ""
	}
	for _, other := range allContainers(&w.pod.Spec) {
		if rec := w.rec.Containers[other.Name]; other.Name != c.Name && rec.running() && !w.liveOf(other.Name).exited {
			return rec.ID
		}
	}
	return ""
}

func (s *starting) fail(reason string, err error) error {
	s.reason = reason
	return err
}

// step notes that a part of the start is done.
func (s *starting) step(name string) {
	now := time.Now()
	s.steps = append(s.steps, name, now.Sub(s.last))
	s.last = now
}

// run does all there is to a start. What it made is gone again when it fails.
func (s *starting) run(ctx context.Context) (err error) {
	s.last = time.Now()
	if s.image, err = s.getImage(ctx); err != nil {
		return err
	}
	s.step("image")
	rt := s.w.m.cfg.Runtime
	cfg := &container.Config{
		ID: s.id, Attempt: s.attempt, PodUID: s.pod.UID, PodNamespace: s.pod.Namespace, PodName: s.pod.Name,
		Hostname: hostname(s.pod, s.w.m.cfg.DNS.Domain), PodSecurity: s.pod.Spec.SecurityContext, Container: s.spec,
		OOMScoreAdj: oomScore(s.pod, s.spec, s.w.m.memory()), HostPID: s.pod.Spec.HostPID, JoinPID: s.joinPID,
		Image:   container.Image{Name: s.image.Name, ChainID: s.image.ChainID, Config: s.image.Config},
		LogPath: s.log, ScratchDir: s.w.dir,
	}
	if s.pod.Spec.HostNetwork {
		cfg.Hostname = ""
	}
	if cfg.RootFS, err = rt.PrepareRootFS(ctx, s.id, s.pod.UID, s.image.ChainID); err != nil {
		s.w.m.cfg.Images.Forget(s.image) // it may have been removed behind our back
		return s.fail("CreateContainerError", err)
	}
	defer func() {
		if err != nil && !s.ran { // Create and what follows it clean up themselves
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, rt.Remove(undo, s.id, s.pod.UID))
		}
	}()
	s.step("rootfs")
	select {
	case <-s.prep.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.step("sandbox")
	cfg.Sandbox = s.prep.box
	if err = s.configure(ctx, cfg); err != nil {
		return s.fail("CreateContainerConfigError", err)
	}
	if err = s.w.m.start.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.w.m.start.Release(1)
	s.step("turn")
	return s.create(ctx, cfg)
}

func (s *starting) create(ctx context.Context, cfg *container.Config) error {
	rt := s.w.m.cfg.Runtime
	s.ran = true
	if err := rt.Create(ctx, cfg); err != nil {
		var ce *container.ConfigError
		if errors.As(err, &ce) {
			s.ran = false
			return s.fail("CreateContainerConfigError", err)
		}
		return s.fail("RunContainerError", err)
	}
	s.step("create")
	s.w.eventFor(s.pod, s.spec, corev1.EventTypeNormal, "Created", "Container created")
	if err := rt.Start(ctx, s.id); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return s.fail("RunContainerError", errors.Join(err, rt.Remove(undo, s.id, s.pod.UID)))
	}
	s.at = s.w.now()
	s.step("start")
	s.w.log.Debug("container started", append([]any{"container", s.spec.Name, "attempt", s.attempt}, s.steps...)...)
	s.pruneLogs()
	return nil
}

// pruneLogs removes the logs of instances before the previous one, which nobody can ask for any more.
func (s *starting) pruneLogs() {
	for n := s.attempt - 2; n >= 0; n-- {
		path := s.w.logPath(s.spec.Name, n)
		old, err := container.RotatedLogs(path)
		if err != nil || os.Remove(path) != nil && len(old) == 0 {
			return // the earlier ones are gone since earlier
		}
		for _, name := range old {
			_ = os.Remove(name)
		}
	}
}

func (s *starting) getImage(ctx context.Context) (*image.Image, error) {
	secrets, err := s.pullSecrets(ctx)
	if err != nil {
		return nil, s.fail(image.ReasonErrImagePull, err)
	}
	res, err := s.w.m.cfg.Images.Ensure(ctx, image.Request{
		Image: s.spec.Image, Policy: s.spec.ImagePullPolicy, Secrets: secrets,
		Pulling: func() {
			s.w.eventFor(s.pod, s.spec, corev1.EventTypeNormal, "Pulling", "Pulling image %q", s.spec.Image)
		},
	})
	if err != nil {
		var ie *image.Error
		if errors.As(err, &ie) {
			return nil, s.fail(ie.Reason, err)
		}
		return nil, err
	}
	if res.Pulled {
		s.w.eventFor(s.pod, s.spec, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
			s.spec.Image, res.Duration.Truncate(time.Millisecond), res.Duration.Truncate(time.Millisecond), res.Size)
	} else {
		s.w.eventFor(s.pod, s.spec, corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine", s.spec.Image)
	}
	return res.Image, nil
}

// pullSecrets reads the pod's pull secrets. One that is missing is passed over: the pull may do without.
func (s *starting) pullSecrets(ctx context.Context) ([]corev1.Secret, error) {
	var out []corev1.Secret
	for _, ref := range s.pod.Spec.ImagePullSecrets {
		sec, err := s.w.m.cfg.Objects.Secret(ctx, s.pod.Namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			s.w.eventFor(s.pod, nil, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read pull secret %s: %w", ref.Name, err)
		}
		out = append(out, *sec)
	}
	return out, nil
}

// configure resolves environment, command and mounts.
func (s *starting) configure(ctx context.Context, cfg *container.Config) error {
	m := s.w.m
	env := &environment{pod: s.pod, container: s.spec, objects: m.cfg.Objects, hostIPs: []string{m.cfg.NodeIP.String()}}
	for _, ip := range s.prep.ips {
		env.podIPs = append(env.podIPs, ip.String())
	}
	if m.cfg.Services != nil {
		env.services = m.cfg.Services(s.pod.Namespace)
		if s.pod.Namespace != corev1.NamespaceDefault {
			env.services = append(env.services[:len(env.services):len(env.services)], m.cfg.Services(corev1.NamespaceDefault)...)
		}
	}
	if node := m.node(); node != nil {
		env.allocatable = node.Status.Allocatable
	}
	values, list, err := env.resolve(ctx)
	if err != nil {
		return err
	}
	cfg.Env = list
	cfg.Command, cfg.Args = expandAll(s.spec.Command, values), expandAll(s.spec.Args, values)
	if cfg.Mounts, err = volumeMounts(s.spec, s.prep.mounts, values); err != nil {
		return err
	}
	cfg.Mounts = append(cfg.Mounts, s.fileMounts(cfg.Mounts)...)
	path, err := s.terminationFile()
	if err != nil {
		return err
	}
	cfg.Mounts = append(cfg.Mounts, container.Mount{HostPath: path, ContainerPath: terminationPath(s.spec)})
	return nil
}

// fileMounts are the pod's own files, where the container mounts nothing of its own.
func (s *starting) fileMounts(have []container.Mount) []container.Mount {
	var out []container.Mount
	for _, name := range []string{"hosts", "resolv.conf", "hostname"} {
		path := "/etc/" + name
		if name == "hostname" && s.pod.Spec.HostNetwork {
			continue
		}
		taken := false
		for _, m := range have {
			taken = taken || filepath.Clean(m.ContainerPath) == path
		}
		if !taken {
			ro := s.spec.SecurityContext != nil && s.spec.SecurityContext.ReadOnlyRootFilesystem != nil && *s.spec.SecurityContext.ReadOnlyRootFilesystem
			out = append(out, container.Mount{HostPath: filepath.Join(s.w.etcDir(), name), ContainerPath: path, ReadOnly: ro})
		}
	}
	return out
}

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

// terminationFile makes the file that the container may leave its last words in.
func (s *starting) terminationFile() (string, error) {
	path := s.w.terminationFile(s.spec.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("cannot make termination message file: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", fmt.Errorf("cannot make termination message file: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // whatever the umask: the container may run as anybody
		return "", fmt.Errorf("cannot make termination message file: %w", err)
	}
	return path, nil
}

func (w *worker) terminationFile(name string) string {
	return filepath.Join(w.dir, "termination", name)
}

// started takes the result of an attempt.
func (w *worker) started(s *starting) {
	l := w.liveOf(s.spec.Name)
	l.op = opNone
	if s.err != nil {
		w.m.release(s.id)
		w.startFailed(s, l)
		return
	}
	rec := w.recOf(s.spec.Name)
	if rec.terminated() {
		rec.Last = corev1.ContainerState{Terminated: rec.State.Terminated}
	}
	rec.ID, rec.Attempt, rec.Generation = s.id, s.attempt, w.rec.Generation
	rec.SpecImage, rec.Image, rec.ImageID, rec.LogPath = s.spec.Image, s.image.Name, s.image.ID, s.log
	rec.StopSignal = s.image.Config.StopSignal
	rec.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.at.Truncate(time.Second))}}
	rec.Started = s.spec.StartupProbe == nil
	rec.Ready = rec.Started && s.spec.ReadinessProbe == nil
	l.waiting, l.blocked, l.pull = nil, time.Time{}, backoff{}
	w.event(s.spec, corev1.EventTypeNormal, "Started", "Container started")
	w.startProbes(s.spec, rec, l)
	if s.spec.Lifecycle != nil && s.spec.Lifecycle.PostStart != nil && w.rec.Stage == stageActive {
		w.postStart(s, rec.ID)
	}
}

func (w *worker) startFailed(s *starting, l *live) {
	if w.activeCtx.Err() != nil {
		return
	}
	w.log.Warn("cannot start container", "container", s.spec.Name, "reason", s.reason, "error", s.err)
	if errdefs.IsUnavailable(s.err) || s.reason == "" {
		l.blocked = w.now().Add(unavailableRetry)
		return
	}
	l.waiting = &corev1.ContainerStateWaiting{Reason: s.reason, Message: s.err.Error()}
	switch s.reason {
	case image.ReasonErrImagePull, image.ReasonErrImageNeverPull, image.ReasonInvalidImageName, image.ReasonInspectError:
		w.pullFailed(s, l)
	case "RunContainerError":
		w.runFailed(s)
	default:
		l.blocked = w.now().Add(configRetry)
		w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %v", s.err)
	}
}

func (w *worker) pullFailed(s *starting, l *live) {
	l.pull.next(w.now(), w.now())
	l.blocked = w.now().Add(l.pull.Delay)
	switch s.reason {
	case image.ReasonErrImagePull:
		w.event(s.spec, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", s.spec.Image, s.err)
		w.operate(func() { w.wait(pullReported) }, func() { w.pullBackedOff(s, l) })
	case image.ReasonErrImageNeverPull:
		w.event(s.spec, corev1.EventTypeWarning, s.reason, "%v", s.err)
	default:
		w.event(s.spec, corev1.EventTypeWarning, "InspectFailed", "%v", s.err)
	}
	w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %s", s.reason)
}

// wait is a pause that ends with the pod's active life.
func (w *worker) wait(d time.Duration) {
	t := w.m.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
	case <-w.activeCtx.Done():
	}
}

func (w *worker) pullBackedOff(s *starting, l *live) {
	if l.waiting == nil || l.waiting.Reason != image.ReasonErrImagePull || l.op != opNone {
		return
	}
	l.waiting = &corev1.ContainerStateWaiting{
		Reason:  image.ReasonImagePullBackOff,
		Message: fmt.Sprintf("Back-off pulling image %q: %s: %v", s.spec.Image, image.ReasonErrImagePull, s.err),
	}
	w.event(s.spec, corev1.EventTypeNormal, "BackOff", "Back-off pulling image %q", s.spec.Image)
	w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %s", image.ReasonImagePullBackOff)
}

// startErrorCode is the exit code of a container whose process could not be started.
const startErrorCode = 128

// runFailed counts a container that could not be started as one that ended at once, so that its restart policy and
// back-off apply.
func (w *worker) runFailed(s *starting) {
	w.event(s.spec, corev1.EventTypeWarning, "Failed", "Error: %v", s.err)
	rec := w.recOf(s.spec.Name)
	if rec.terminated() {
		rec.Last = corev1.ContainerState{Terminated: rec.State.Terminated}
	}
	rec.ID, rec.Attempt, rec.Generation = s.id, s.attempt, w.rec.Generation
	rec.SpecImage, rec.Image, rec.ImageID, rec.LogPath = s.spec.Image, s.image.Name, s.image.ID, s.log
	rec.Started, rec.Ready = false, false
	rec.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: startErrorCode, Reason: "StartError", Message: s.err.Error(), ContainerID: statusID(s.id),
		StartedAt: metav1.NewTime(time.Unix(0, 0)), FinishedAt: metav1.NewTime(w.now().Truncate(time.Second)),
	}}
}

func (w *worker) startProbes(c *corev1.Container, rec *containerRecord, l *live) {
	if l.probing || c.LivenessProbe == nil && c.ReadinessProbe == nil && c.StartupProbe == nil || !rec.running() {
		return
	}
	l.probing = true
	t := probe.Target{Pod: w.pod, Container: *c, ContainerID: rec.ID}
	if rec.Started {
		t.Container.StartupProbe = nil // it has passed, for an earlier process
	}
	if ips := w.addresses(); len(ips) > 0 {
		t.Address = ips[0]
	}
	w.m.cfg.Prober.Start(t)
}

func (w *worker) stopProbes(name string, l *live) {
	if l.probing {
		l.probing = false
		w.m.cfg.Prober.Stop(w.rec.Containers[name].ID)
	}
}
