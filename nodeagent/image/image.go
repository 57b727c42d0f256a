// Package image gets the images that pods need onto the node: from registries, with the pods' own credentials, or from an
// archive that an operator sends; and removes those that nobody uses when the disk fills up.
package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// Reasons that a container waits with, as the API spells them.
const (
	ReasonErrImagePull      = "ErrImagePull"
	ReasonImagePullBackOff  = "ImagePullBackOff"
	ReasonErrImageNeverPull = "ErrImageNeverPull"
	ReasonInvalidImageName  = "InvalidImageName"
	ReasonInspectError      = "ImageInspectError"
)

// Error says why an image is not there; Reason is one of the above. It never says that the image is wrong for good:
// trying again later may help with each but an invalid name.
type Error struct {
	Reason string
	Image  string
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Image is an unpacked image.
type Image struct {
	Name    string        // normalized, with tag or digest
	Digest  digest.Digest // of the manifest or index that the name points to
	ID      string        // as the API shows it: repository@digest
	ChainID string        // of the snapshot to build containers on
	Config  ocispec.ImageConfig
	Size    int64 // bytes of the content, compressed
}

// Options configures a Manager.
type Options struct {
	Client      *containerd.Client
	Snapshotter string
	// RegistryDir holds a directory for each registry with a hosts.toml, as containerd documents; it may be missing.
	RegistryDir string // /etc/containerd/certs.d
	// MaxPulls is how many images are pulled at once.
	MaxPulls int64 // 3
	// Root is a path on the disk that images fill; HighPercent and LowPercent say when collection starts and ends.
	Root                    string // /var/lib/containerd
	HighPercent, LowPercent int    // 85, 80
	// MinAge is how long an image is kept after its last use.
	MinAge time.Duration // 2 minutes
	Clock  clock.PassiveClock
	Logger *slog.Logger
}

// Manager pulls, imports and collects images. All methods may be called at once.
type Manager struct {
	opt   Options
	slots *semaphore.Weighted

	mu    sync.Mutex
	pulls map[string]*pull           // in progress, by name and credentials
	known map[digest.Digest]*details // of unpacked images
	used  map[string]time.Time       // by name, since this process started
}

type details struct {
	chainID string
	config  ocispec.ImageConfig
	size    int64
}

// New returns a manager that uses the client, which the caller closes.
func New(opt Options) *Manager {
	if opt.RegistryDir == "" {
		opt.RegistryDir = "/etc/containerd/certs.d"
	}
	if opt.MaxPulls == 0 {
		opt.MaxPulls = 3
	}
	if opt.Root == "" {
		opt.Root = "/var/lib/containerd"
	}
	if opt.HighPercent == 0 {
		opt.HighPercent, opt.LowPercent = 85, 80
	}
	if opt.MinAge == 0 {
		opt.MinAge = 2 * time.Minute
	}
	if opt.Clock == nil {
		opt.Clock = clock.RealClock{}
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	return &Manager{
		opt: opt, slots: semaphore.NewWeighted(opt.MaxPulls),
		pulls: map[string]*pull{}, known: map[digest.Digest]*details{}, used: map[string]time.Time{},
	}
}

// Normalize completes an image's name: registry, repository and tag ("busybox" is docker.io/library/busybox:latest).
// The error is an *Error with reason InvalidImageName.
func Normalize(name string) (string, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", &Error{ReasonInvalidImageName, name, fmt.Errorf("Failed to apply default image tag %q: couldn't parse image name %q: %w", name, name, err)}
	}
	return named.String(), nil
}

// Lookup returns an image that is on the node, unpacking it when it is not; nil when it is not there.
func (m *Manager) Lookup(ctx context.Context, name string) (*Image, error) {
	normal, err := Normalize(name)
	if err != nil {
		return nil, err
	}
	return m.lookup(ctx, normal)
}

func (m *Manager) lookup(ctx context.Context, name string) (*Image, error) {
	img, err := m.opt.Client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up image %s: %w", name, err)
	}
	d, err := m.details(ctx, img)
	if err != nil {
		return nil, err
	}
	return m.finish(img, d)
}

// finish makes the answer and remembers that the image is used.
func (m *Manager) finish(img images.Image, d *details) (*Image, error) {
	named, err := reference.ParseNormalizedNamed(img.Name)
	if err != nil {
		return nil, fmt.Errorf("cannot parse image name %q: %w", img.Name, err)
	}
	m.mu.Lock()
	m.used[img.Name] = m.opt.Clock.Now()
	m.mu.Unlock()
	return &Image{
		Name: img.Name, Digest: img.Target.Digest, ID: reference.TrimNamed(named).Name() + "@" + img.Target.Digest.String(),
		ChainID: d.chainID, Config: d.config, Size: d.size,
	}, nil
}

// details reads what containers need of an image, and unpacks it. It is done once for each content.
func (m *Manager) details(ctx context.Context, i images.Image) (*details, error) {
	m.mu.Lock()
	d := m.known[i.Target.Digest]
	m.mu.Unlock()
	if d != nil {
		return d, nil
	}
	img := containerd.NewImage(m.opt.Client, i)
	spec, err := img.Spec(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read image %s: %w", i.Name, err)
	}
	unpacked, err := img.IsUnpacked(ctx, m.opt.Snapshotter)
	if err != nil {
		return nil, fmt.Errorf("cannot inspect image %s: %w", i.Name, err)
	}
	if !unpacked {
		if err := img.Unpack(ctx, m.opt.Snapshotter); err != nil {
			return nil, fmt.Errorf("cannot unpack image %s: %w", i.Name, err)
		}
	}
	size, err := img.Size(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot measure image %s: %w", i.Name, err)
	}
	d = &details{chainID: identity.ChainID(spec.RootFS.DiffIDs).String(), config: spec.Config, size: size}
	m.mu.Lock()
	m.known[i.Target.Digest] = d
	m.mu.Unlock()
	return d, nil
}

// Forget drops what is known of an image, when something was found missing that ought to be there.
func (m *Manager) Forget(i *Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, i.Digest)
}

// Request asks for an image for a container.
type Request struct {
	Image  string
	Policy corev1.PullPolicy
	// Secrets are the pod's pull secrets; those of other types than the two docker ones are passed over.
	Secrets []corev1.Secret
	// Pulling is called before a pull begins, when one is needed.
	Pulling func()
}

// Result is an image, and how it came to be there.
type Result struct {
	*Image
	Pulled   bool
	Duration time.Duration // of the pull
}

// Ensure returns the image, pulled as the policy says. Pulls of the same image with the same credentials are one. An error is
// an *Error, or ctx's.
func (m *Manager) Ensure(ctx context.Context, req Request) (Result, error) {
	name, err := Normalize(req.Image)
	if err != nil {
		return Result{}, err
	}
	policy := effectivePolicy(req.Policy, name)
	if policy != corev1.PullAlways {
		img, err := m.lookup(ctx, name)
		if err != nil {
			return Result{}, fail(ctx, ReasonInspectError, req.Image, err)
		}
		if img != nil {
			return Result{Image: img}, nil
		}
		if policy == corev1.PullNever {
			return Result{}, &Error{ReasonErrImageNeverPull, req.Image, fmt.Errorf("Container image %q is not present with pull policy of Never", req.Image)}
		}
	}
	logins, err := credentials(req.Secrets)
	if err != nil {
		return Result{}, &Error{ReasonErrImagePull, req.Image, err}
	}
	if req.Pulling != nil {
		req.Pulling()
	}
	start := m.opt.Clock.Now()
	img, err := m.pull(ctx, name, logins)
	if err != nil {
		return Result{}, fail(ctx, ReasonErrImagePull, req.Image, err)
	}
	return Result{Image: img, Pulled: true, Duration: m.opt.Clock.Since(start)}, nil
}

// effectivePolicy is the default where the API server set none.
func effectivePolicy(p corev1.PullPolicy, name string) corev1.PullPolicy {
	if p != "" {
		return p
	}
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		if t, ok := named.(reference.Tagged); ok && t.Tag() == "latest" {
			return corev1.PullAlways
		}
	}
	return corev1.PullIfNotPresent
}

func fail(ctx context.Context, reason, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{reason, name, err}
}
