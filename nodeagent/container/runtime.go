// Package container runs the containers of pods on containerd: namespaces that are pinned without a pause process,
// one shim for a pod, OCI specifications from the API's types, cgroups, log files in the CRI's format, exec and attach.
//
// It keeps no opinion about pods: which containers ought to run is package pod's business. What it promises is that
// nothing it starts depends on this process: containers, their namespaces and the FIFOs that carry their output
// outlive it, and Adopt takes them up again.
package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// Labels on containerd's containers, by which they are found again. The first four are those that other tools of the
// field read as well.
const (
	LabelPodUID       = "io.kubernetes.pod.uid"
	LabelPodNamespace = "io.kubernetes.pod.namespace"
	LabelPodName      = "io.kubernetes.pod.name"
	LabelContainer    = "io.kubernetes.container.name"
	LabelAttempt      = "fairlead.io/attempt"
	LabelLogPath      = "fairlead.io/log"
	LabelTTY          = "fairlead.io/tty"
	LabelStdin        = "fairlead.io/stdin"
	LabelCgroup       = "fairlead.io/cgroup"
)

const runtimeName = "io.containerd.runc.v2"

// connectTimeout bounds one attempt to reach containerd and the pause between two; it is short so that a restart of
// containerd is noticed at once.
const connectTimeout = 2 * time.Second

// Options configures a Runtime; zero fields take the defaults named beside them.
type Options struct {
	Socket      string // /run/containerd/containerd.sock
	Namespace   string // "fairlead"
	StateDir    string // /run/fairlead: pinned namespaces and FIFOs; lost at reboot, as they are
	Snapshotter string // overlayfs, or native where overlayfs does not work
	CgroupRoot  string // "/fairlead", below every hierarchy's root
	// SeccompDir holds the Localhost seccomp profiles that pods name.
	SeccompDir string // /var/lib/fairlead/agent/seccomp
	// LogMaxBytes is the size at which a log file is rotated, LogMaxFiles how many a container keeps, the current
	// one included.
	LogMaxBytes int64 // 10 MiB
	LogMaxFiles int   // 5
	Logger      *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Socket == "" {
		o.Socket = config.DefaultContainerd
	}
	if o.Namespace == "" {
		o.Namespace = config.ContainerdNamespace
	}
	if o.StateDir == "" {
		o.StateDir = config.RunDir
	}
	if o.CgroupRoot == "" {
		o.CgroupRoot = "/fairlead"
	}
	if o.SeccompDir == "" {
		o.SeccompDir = filepath.Join(config.DefaultAgentDir, "seccomp")
	}
	if o.LogMaxBytes == 0 {
		o.LogMaxBytes = 10 << 20
	}
	if o.LogMaxFiles == 0 {
		o.LogMaxFiles = 5
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Runtime is a connection to containerd and what is known of the containers on it. All methods may be called at
// once; those that create and delete containers of one pod wait for each other, because the shim that the pod's
// containers share ends with the last of them.
type Runtime struct {
	opt    Options
	client *containerd.Client
	cgroup *cgroups
	host   hostLimits
	events chan Event
	// imageRoot is the snapshotter's directory.
	imageRoot string

	mu         sync.Mutex
	containers map[string]*streams       // by container id: output that is being copied
	pods       map[types.UID]*sync.Mutex // serializes create and delete within a pod
	users      map[string]*userDB        // by chain id of the image
}

// New connects to containerd, which must answer before ctx ends, and makes the state directory.
func New(ctx context.Context, opt Options) (*Runtime, error) {
	opt.setDefaults()
	if err := os.MkdirAll(filepath.Join(opt.StateDir, "ns"), 0o711); err != nil {
		return nil, fmt.Errorf("cannot make state directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(opt.StateDir, "io"), 0o711); err != nil {
		return nil, fmt.Errorf("cannot make state directory: %w", err)
	}
	client, err := containerd.New(opt.Socket,
		containerd.WithDefaultNamespace(opt.Namespace), containerd.WithTimeout(connectTimeout))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to containerd at %s: %w", opt.Socket, err)
	}
	r := &Runtime{
		opt: opt, client: client,
		events:     make(chan Event, 256),
		containers: map[string]*streams{}, pods: map[types.UID]*sync.Mutex{}, users: map[string]*userDB{},
	}
	if err := r.prepare(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return r, nil
}

// prepare waits for containerd and learns what the host can do.
func (r *Runtime) prepare(ctx context.Context) error {
	if _, err := r.client.IsServing(ctx); err != nil {
		return fmt.Errorf("cannot reach containerd at %s: %w", r.opt.Socket, err)
	}
	var err error
	if r.opt.Snapshotter, r.imageRoot, err = chooseSnapshotter(ctx, r.client, r.opt.Snapshotter); err != nil {
		return err
	}
	if r.cgroup, err = findCgroups(r.opt.CgroupRoot); err != nil {
		return err
	}
	r.host = detectLimits(r.opt.Socket, r.opt.Logger)
	return nil
}

// chooseSnapshotter takes overlayfs where containerd says that it works, and plain copies elsewhere (a root
// directory on an overlay), unless one is named; and says where it keeps its files.
func chooseSnapshotter(ctx context.Context, client *containerd.Client, named string) (name, root string, err error) {
	resp, err := client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", "", fmt.Errorf("cannot list containerd's snapshotters: %w", err)
	}
	names := []string{"overlayfs", "native"}
	if named != "" {
		names = []string{named}
	}
	for _, want := range names {
		for _, p := range resp.Plugins {
			if p.ID == want && p.InitErr == nil {
				return want, p.Exports["root"], nil
			}
		}
	}
	return "", "", fmt.Errorf("cannot use containerd: none of its snapshotters %s works", strings.Join(names, ", "))
}

// Client is the connection to containerd, for the image manager. It belongs to the Runtime.
func (r *Runtime) Client() *containerd.Client { return r.client }

// Snapshotter is the name of the snapshotter that images are to be unpacked with.
func (r *Runtime) Snapshotter() string { return r.opt.Snapshotter }

// ImageRoot is the directory on this host in which containerd keeps images and containers; empty when it does not say.
func (r *Runtime) ImageRoot() string { return r.imageRoot }

// Close stops copying output, waits until that has ended and closes the connection. Containers run on; their output
// waits in the FIFOs.
func (r *Runtime) Close() error {
	r.mu.Lock()
	all := make([]*streams, 0, len(r.containers))
	for id, s := range r.containers {
		all = append(all, s)
		delete(r.containers, id)
	}
	r.mu.Unlock()
	for _, s := range all {
		s.abandon()
	}
	return r.client.Close()
}

func (r *Runtime) tasks() tasks.TasksClient { return r.client.TaskService() }

func (r *Runtime) snapshots() snapshots.Snapshotter {
	return r.client.SnapshotService(r.opt.Snapshotter)
}

// lockPod serializes what starts or ends the pod's shim; the caller calls what it returns.
func (r *Runtime) lockPod(uid types.UID) (unlock func()) {
	r.mu.Lock()
	m := r.pods[uid]
	if m == nil {
		m = &sync.Mutex{}
		r.pods[uid] = m
	}
	r.mu.Unlock()
	m.Lock()
	return m.Unlock
}

func (r *Runtime) streamsOf(id string) *streams {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.containers[id]
}

func (r *Runtime) ioDir(id string) string { return filepath.Join(r.opt.StateDir, "io", id) }
