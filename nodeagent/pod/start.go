package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
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
	objects int // worker.objects when it began

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

func (w *worker) startContainer(c *corev1.Container, attempt int32) {
	l := w.liveOf(c.Name)
	l.op, l.exited, l.ended = opStart, false, make(chan struct{})
	s := &starting{
		w: w, pod: w.pod, spec: c, attempt: attempt, prep: w.prep,
		id: container.NewID(), joinPID: w.sharedPID(c), objects: w.objects,
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

// awaitsSharedPID says that a container of a pod whose process namespace is shared must wait for the one that brings it.
func (w *worker) awaitsSharedPID(c *corev1.Container) bool {
	if s := w.pod.Spec.ShareProcessNamespace; s == nil || !*s || w.sharedPID(c) != "" {
		return false
	}
	for name, l := range w.live {
		if name != c.Name && l.op == opStart {
			return true
		}
	}
	return false
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
		Hostname: hostname(s.pod, s.w.m.cfg.DNS.Domain), PodSecurity: s.pod.Spec.SecurityContext, Container: limited(s.pod, s.spec),
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
		return s.fail(configReason, err)
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
			return s.fail(configReason, err)
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
		return nil, err
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

// pullSecrets reads the pod's pull secrets. Those that can not be had are passed over: the pull may do without.
func (s *starting) pullSecrets(ctx context.Context) ([]corev1.Secret, error) {
	var out []corev1.Secret
	var missing []string
	for _, ref := range s.pod.Spec.ImagePullSecrets {
		if ref.Name == "" { // the API allows it
			continue
		}
		sec, err := s.w.m.cfg.Objects.Secret(ctx, s.pod.Namespace, ref.Name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.w.log.Warn("cannot read pull secret", "secret", ref.Name, "error", err)
			missing = append(missing, ref.Name)
			continue
		}
		out = append(out, *sec)
	}
	if len(missing) > 0 {
		s.w.eventFor(s.pod, nil, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
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
