package container

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path"

	"github.com/containerd/containerd/v2/core/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Config is a container to be created: the API's container, with everything resolved that the API leaves to the node.
type Config struct {
	ID      string // from NewID
	Attempt int32  // counts a container's restarts

	PodUID                types.UID
	PodNamespace, PodName string
	Sandbox               *Sandbox
	Hostname              string
	PodSecurity           *corev1.PodSecurityContext // may be nil

	// Container gives name, resources, security context and terminal; command, arguments, environment and mounts are
	// taken from the fields below, in which references are resolved.
	Container     *corev1.Container
	Command, Args []string
	Env           []string // KEY=VALUE
	Mounts        []Mount
	OOMScoreAdj   int

	Image  Image
	RootFS []mount.Mount // from PrepareRootFS

	HostPID bool
	// JoinPID names a running container whose process namespace is shared; empty: one of its own.
	JoinPID string

	LogPath    string
	ScratchDir string // for the bind mounts of subpaths; belongs to the pod
}

// Image is what a container needs to know of its image.
type Image struct {
	Name    string // normalized
	ChainID string // of the unpacked snapshot
	Config  ocispec.ImageConfig
}

// Mount is a bind mount from the host.
type Mount struct {
	HostPath      string
	SubPath       string // inside HostPath; never leaves it
	ContainerPath string
	ReadOnly      bool
	Propagation   corev1.MountPropagationMode
}

// ConfigError says that the container can not be made as it is described: trying again helps only when its
// description, or what that refers to, changes.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

func configErrorf(format string, args ...any) error {
	return &ConfigError{fmt.Errorf(format, args...)}
}

// NewID returns an identifier for a container.
func NewID() string {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails
	}
	return hex.EncodeToString(b[:])
}

func (r *Runtime) cgroupOf(uid types.UID, id string) string { return path.Join(r.cgroup.pod(uid), id) }
