package image_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
)

var daemon *containertest.Daemon

func TestMain(m *testing.M) {
	d, err := containertest.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	daemon = d
	code := m.Run()
	if err := d.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func newManager(t *testing.T, change func(*image.Options)) *image.Manager {
	t.Helper()
	// A namespace of its own: no test sees another one's images.
	r, err := container.New(t.Context(), container.Options{Socket: daemon.Socket, StateDir: daemon.StateDir(), Namespace: "t" + container.NewID()[:8]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	opt := image.Options{Client: r.Client(), Snapshotter: r.Snapshotter(), RegistryDir: t.TempDir(), Root: daemon.Dir}
	if change != nil {
		change(&opt)
	}
	return image.New(opt)
}

// testRegistry serves one image, to "u" with password "p" when locked, and counts requests for its manifest.
type testRegistry struct {
	host      string
	locked    atomic.Bool
	manifests atomic.Int32
	hold      chan struct{} // when set, requests for layers wait until it is closed
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	reg := &testRegistry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		if reg.locked.Load() && (user != "u" || pass != "p") {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			reg.manifests.Add(1)
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && reg.hold != nil {
			<-reg.hold
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	reg.host = strings.TrimPrefix(srv.URL, "http://")
	ref, err := name.ParseReference(reg.host + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	if err := remote.Write(ref, testImage(t), remote.WithTransport(tr), remote.WithAuth(authn.Anonymous)); err != nil {
		t.Fatal(err)
	}
	return reg
}

func testImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := containertest.Busybox(func(c *v1.Config) { c.Env = []string{"A=1"}; c.WorkingDir = "/tmp" })
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func dockerConfig(host, user, pass string) corev1.Secret {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
	return corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)}}
}

func reasonOf(err error) string {
	var e *image.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return fmt.Sprint(err)
}

func TestPull(t *testing.T) {
	reg := newRegistry(t)
	m := newManager(t, nil)
	app := reg.host + "/team/app:1"
	pulling := 0
	req := image.Request{Image: app, Policy: corev1.PullIfNotPresent, Pulling: func() { pulling++ }}
	for _, tt := range []struct {
		name   string
		policy corev1.PullPolicy
		pulled bool
	}{
		{"first", corev1.PullIfNotPresent, true}, {"again", corev1.PullIfNotPresent, false}, {"never", corev1.PullNever, false}, {"always", corev1.PullAlways, true},
	} {
		req.Policy = tt.policy
		res, err := m.Ensure(t.Context(), req)
		if err != nil || res.Pulled != tt.pulled || !strings.HasPrefix(res.ID, reg.host+"/team/app@sha256:") || res.Config.WorkingDir != "/tmp" || res.ChainID == "" {
			t.Errorf("%s: %+v %v", tt.name, res, err)
		}
	}
	if pulling != 2 {
		t.Errorf("announced %d pulls", pulling)
	}
}

func TestPullErrors(t *testing.T) {
	reg := newRegistry(t)
	m := newManager(t, nil)
	for _, tt := range []struct {
		image  string
		policy corev1.PullPolicy
		want   string
	}{
		{reg.host + "/team/none:1", corev1.PullIfNotPresent, image.ReasonErrImagePull},
		{reg.host + "/team/app:1", corev1.PullNever, image.ReasonErrImageNeverPull},
		{"Not:A:Name", corev1.PullAlways, image.ReasonInvalidImageName},
	} {
		if _, err := m.Ensure(t.Context(), image.Request{Image: tt.image, Policy: tt.policy}); reasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.image, err)
		}
	}
}

func TestPullSecrets(t *testing.T) {
	reg := newRegistry(t)
	reg.locked.Store(true)
	m := newManager(t, nil)
	req := image.Request{Image: reg.host + "/team/app:1", Policy: corev1.PullAlways}
	for _, tt := range []struct {
		name    string
		secrets []corev1.Secret
		want    string
	}{
		{"none", nil, image.ReasonErrImagePull},
		{"wrong", []corev1.Secret{dockerConfig(reg.host, "u", "x")}, image.ReasonErrImagePull},
		{"other host", []corev1.Secret{dockerConfig("elsewhere.example", "u", "p")}, image.ReasonErrImagePull},
		{"wrong, then right", []corev1.Secret{dockerConfig(reg.host, "u", "x"), dockerConfig("http://"+reg.host+"/team", "u", "p")}, ""},
		{"right", []corev1.Secret{dockerConfig(reg.host, "u", "p")}, ""},
	} {
		req.Secrets = tt.secrets
		if _, err := m.Ensure(t.Context(), req); tt.want == "" && err != nil || tt.want != "" && reasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestPullOnce lets many ask at once while the registry is slow, one of whom gives up.
func TestPullOnce(t *testing.T) {
	reg := newRegistry(t)
	reg.manifests.Store(0)
	reg.hold = make(chan struct{})
	m := newManager(t, nil)
	var wg sync.WaitGroup
	var asking sync.WaitGroup
	ctx, giveUp := context.WithCancel(t.Context())
	for i := range 10 {
		ctx := ctx
		if i > 0 {
			ctx = t.Context()
		}
		asking.Add(1)
		wg.Go(func() {
			_, err := m.Ensure(ctx, image.Request{Image: reg.host + "/team/app:1", Policy: corev1.PullAlways, Pulling: sync.OnceFunc(asking.Done)})
			if (i == 0) != errors.Is(err, context.Canceled) {
				t.Errorf("pull %d: %v", i, err)
			}
		})
	}
	asking.Wait()
	giveUp()
	close(reg.hold)
	wg.Wait()
	if n := reg.manifests.Load(); n > 2 { // by tag, and perhaps by digest
		t.Errorf("manifest was asked for %d times", n)
	}
}

func TestImport(t *testing.T) {
	m := newManager(t, nil)
	var first []image.Imported
	for range 2 {
		r, err := containertest.Archive("localhost/app:1", testImage(t))
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Import(t.Context(), r)
		if err != nil || len(got) != 1 || got[0].Name != "localhost/app:1" {
			t.Fatalf("%+v %v", got, err)
		}
		if first != nil && !slices.Equal(got, first) {
			t.Errorf("importing again changed %v to %v", first, got)
		}
		first = got
	}
	for _, ref := range []string{"localhost/app:1", "localhost/app@" + first[0].Digest.String()} {
		res, err := m.Ensure(t.Context(), image.Request{Image: ref, Policy: corev1.PullNever})
		if err != nil || res.Digest != first[0].Digest || res.Config.Env[0] != "A=1" {
			t.Errorf("%s: %+v %v", ref, res, err)
		}
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || len(list[0].Names) != 2 || list[0].SizeBytes == 0 {
		t.Errorf("list %+v %v", list, err)
	}
	if _, err := m.Import(t.Context(), bytes.NewReader([]byte("no archive"))); err == nil {
		t.Error("imported nonsense")
	}
}

func TestCollect(t *testing.T) {
	m := newManager(t, func(o *image.Options) { o.HighPercent, o.LowPercent, o.MinAge = -1, -2, -1 })
	for _, ref := range []string{"localhost/keep:1", "localhost/drop:1"} {
		img, err := containertest.Busybox(func(c *v1.Config) { c.Labels = map[string]string{"ref": ref} })
		if err != nil {
			t.Fatal(err)
		}
		r, err := containertest.Archive(ref, img)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Import(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := m.Collect(t.Context(), []string{"localhost/keep:1"})
	if err != nil || len(removed) != 2 || !slices.Contains(removed, "localhost/drop:1") {
		t.Errorf("removed %v, %v", removed, err)
	}
	if img, err := m.Lookup(t.Context(), "localhost/keep:1"); err != nil || img == nil {
		t.Errorf("image in use: %v %v", img, err)
	}
	if img, err := m.Lookup(t.Context(), "localhost/drop:1"); err != nil || img != nil {
		t.Errorf("unused image: %v %v", img, err)
	}
}

// What a registry has can be had again: it goes before what came in an archive, however long that was not used.
func TestRemoveUnused(t *testing.T) {
	reg := newRegistry(t)
	m := newManager(t, func(o *image.Options) { o.MinAge = -1 })
	img, err := containertest.Busybox(nil)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := containertest.Archive("localhost/sent:1", img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Import(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Ensure(t.Context(), image.Request{Image: reg.host + "/team/app:1"}); err != nil {
		t.Fatal(err)
	}
	removed, err := m.RemoveUnused(t.Context(), nil)
	if err != nil || len(removed) < 3 || removed[0] != reg.host+"/team/app:1" {
		t.Errorf("removed %v, %v", removed, err)
	}
	if list, err := m.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("left %+v, %v", list, err)
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":           "docker.io/library/busybox:latest",
		"me/app:2":          "docker.io/me/app:2",
		"localhost/bb:1":    "localhost/bb:1",
		"localhost:5000/bb": "localhost:5000/bb:latest",
		"registry.example/a/b@sha256:" + strings.Repeat("0", 64): "registry.example/a/b@sha256:" + strings.Repeat("0", 64),
	} {
		if got, err := image.Normalize(in); err != nil || got != want {
			t.Errorf("%s: %s %v", in, got, err)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"busybox", "a.b:1/c:2", "x@sha256:1", "//", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := image.Normalize(s)
		if err != nil {
			return
		}
		if again, err := image.Normalize(n); err != nil || again != n {
			t.Errorf("%q became %q and then %q, %v", s, n, again, err)
		}
	})
}
