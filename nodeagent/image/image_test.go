package image_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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

// newRegistry is a registry with the image team/app:1.
func newRegistry(t *testing.T) (_ *containertest.Registry, app string) {
	t.Helper()
	reg := containertest.NewRegistry()
	t.Cleanup(reg.Close)
	app, err := reg.Push("team/app:1", testImage(t))
	if err != nil {
		t.Fatal(err)
	}
	return reg, app
}

func testImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := containertest.Busybox(func(c *v1.Config) { c.Env = []string{"A=1"}; c.WorkingDir = "/tmp" })
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func reasonOf(err error) string {
	var e *image.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return fmt.Sprint(err)
}

func TestPull(t *testing.T) {
	reg, app := newRegistry(t)
	m := newManager(t, nil)
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
		if err != nil || res.Pulled != tt.pulled || !strings.HasPrefix(res.ID, reg.Host+"/team/app@sha256:") || res.Config.WorkingDir != "/tmp" || res.ChainID == "" {
			t.Errorf("%s: %+v %v", tt.name, res, err)
		}
	}
	if pulling != 2 {
		t.Errorf("announced %d pulls", pulling)
	}
}

func TestPullErrors(t *testing.T) {
	reg, app := newRegistry(t)
	m := newManager(t, nil)
	for _, tt := range []struct {
		image  string
		policy corev1.PullPolicy
		want   string
	}{
		{reg.Host + "/team/none:1", corev1.PullIfNotPresent, image.ReasonErrImagePull},
		{app, corev1.PullNever, image.ReasonErrImageNeverPull},
		{"Not:A:Name", corev1.PullAlways, image.ReasonInvalidImageName},
	} {
		if _, err := m.Ensure(t.Context(), image.Request{Image: tt.image, Policy: tt.policy}); reasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.image, err)
		}
	}
}

// TestPullSecrets shows the registry what each of these secrets has for it.
func TestPullSecrets(t *testing.T) {
	reg, app := newRegistry(t)
	reg.Lock("u", "p")
	m := newManager(t, nil)
	req := image.Request{Image: app, Policy: corev1.PullAlways}
	json := func(pattern, user, pass string) corev1.Secret {
		return corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
			corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, pattern, base64.StdEncoding.EncodeToString([]byte(user+":"+pass)))}}
	}
	cfg := func(pattern, user, pass string) corev1.Secret {
		return corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{
			corev1.DockerConfigKey: fmt.Appendf(nil, `{%q:{"username":%q,"password":%q,"email":"e"}}`, pattern, user, pass)}}
	}
	broken := json(reg.Host, "u", "p")
	broken.Name, broken.Data = "broken", map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":"none"}}}`, reg.Host)}
	for _, tt := range []struct {
		name    string
		secrets []corev1.Secret
		users   []string
		fails   string
	}{
		{"none", nil, nil, "no basic auth credentials"},
		{"wrong", []corev1.Secret{json(reg.Host, "u", "x")}, []string{"u"}, "401 Unauthorized"},
		{"other host", []corev1.Secret{json("elsewhere.example", "u", "p")}, nil, "no basic auth credentials"},
		{"unreadable", []corev1.Secret{broken}, nil, "cannot read pull secret broken: auth of"},
		{"dockerconfigjson", []corev1.Secret{json(reg.Host, "u", "p")}, []string{"u"}, ""},
		{"dockercfg", []corev1.Secret{cfg("https://"+reg.Host+"/v1/", "u", "p")}, []string{"u"}, ""},
		{"the path's before the host's", []corev1.Secret{cfg(reg.Host, "host", "x"), json(reg.Host+"/team", "u", "p")}, []string{"u"}, ""},
		{"one after the other", []corev1.Secret{json(reg.Host, "b", "x"), json(reg.Host, "a", "x"), cfg(reg.Host, "u", "p")}, []string{"b", "a", "u"}, ""},
	} {
		req.Secrets = tt.secrets
		reg.Users()
		_, err := m.Ensure(t.Context(), req)
		if users := reg.Users(); !slices.Equal(users, tt.users) {
			t.Errorf("%s: it was asked by %q, want %q", tt.name, users, tt.users)
		}
		if tt.fails == "" && err != nil || tt.fails != "" && (reasonOf(err) != image.ReasonErrImagePull || !strings.Contains(err.Error(), tt.fails)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestPullOnce lets many ask at once while the registry is slow, one of whom gives up.
func TestPullOnce(t *testing.T) {
	reg, app := newRegistry(t)
	release := reg.Hold()
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
			_, err := m.Ensure(ctx, image.Request{Image: app, Policy: corev1.PullAlways, Pulling: sync.OnceFunc(asking.Done)})
			if (i == 0) != errors.Is(err, context.Canceled) {
				t.Errorf("pull %d: %v", i, err)
			}
		})
	}
	asking.Wait()
	giveUp()
	release()
	wg.Wait()
	if n := reg.Manifests(); n > 2 { // by tag, and perhaps by digest
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
	_, app := newRegistry(t)
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
	if _, err := m.Ensure(t.Context(), image.Request{Image: app}); err != nil {
		t.Fatal(err)
	}
	removed, err := m.RemoveUnused(t.Context(), nil)
	if err != nil || len(removed) < 3 || removed[0] != app {
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
