package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// objects is a Source of what a test puts in.
type objects struct {
	mu      sync.Mutex
	data    map[string]map[string]string // KIND/NAME
	changed func(namespace, name string)
	asked   map[string]int // tokens, by audience
	refused error          // of those who ask for a token
}

func (o *objects) get(kind, name string) (map[string]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, ok := o.data[kind+"/"+name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
	}
	return d, nil
}

func (o *objects) set(kind, name string, data map[string]string) {
	o.mu.Lock()
	o.data[kind+"/"+name] = data
	o.mu.Unlock()
	o.changed("ns", name)
}

func (o *objects) remove(kind, name string) {
	o.mu.Lock()
	delete(o.data, kind+"/"+name)
	o.mu.Unlock()
	o.changed("ns", name)
}

func (o *objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	d, err := o.get("configmaps", name)
	return &corev1.ConfigMap{Data: d}, err
}

func (o *objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	d, err := o.get("secrets", name)
	out := &corev1.Secret{Data: map[string][]byte{}}
	for k, v := range d {
		out.Data[k] = []byte(v)
	}
	return out, err
}

// Token gives out numbered tokens that live as long as is asked for, and an hour at most.
func (o *objects) Token(_ context.Context, pod *corev1.Pod, audience string, seconds int64) (string, time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refused != nil {
		return "", 0, o.refused
	}
	o.asked[audience]++
	return fmt.Sprintf("token %d of %s for %s", o.asked[audience], pod.Name, audience), time.Duration(min(seconds, 3600)) * time.Second, nil
}

func (o *objects) refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused = err
}

func (o *objects) Changed(fn func(namespace, name string)) { o.changed = fn }

func setup(t *testing.T) (*Volumes, *objects) {
	t.Helper()
	src := &objects{data: map[string]map[string]string{}, asked: map[string]int{}}
	v := New(Config{Dir: filepath.Join(t.TempDir(), "volumes"), Source: src, Allocatable: func() corev1.ResourceList { return corev1.ResourceList{"memory": resource.MustParse("2Gi")} }, Logger: slog.New(slog.DiscardHandler)})
	src.set("configmaps", "conf", map[string]string{"a": "1", "b": "2"})
	src.set("secrets", "cred", map[string]string{"password": "hidden"})
	t.Cleanup(func() {
		if err := RemoveAll(v.cfg.Dir); err != nil {
			t.Error(err)
		}
	})
	return v, src
}

func pod(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "uid-1", Labels: map[string]string{"app": "web", "zone": "a"}},
		Spec: corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{"memory": resource.MustParse("64Mi"), "cpu": resource.MustParse("1500m")}}}, {Name: "free"}}},
	}
}

func vol(name string, s corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: s}
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestContentsOfEachSource(t *testing.T) {
	v, _ := setup(t)
	p := pod(
		vol("conf", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"},
			Items: []corev1.KeyToPath{{Key: "a", Path: "deep/er/a.txt", Mode: ptr.To[int32](0o400)}}}}),
		vol("cred", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "cred", DefaultMode: ptr.To[int32](0o600)}}),
		vol("me", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			{Path: "app", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}},
			{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.cpu"}},
			{Path: "free", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "free", Resource: "limits.memory"}},
			{Path: "mem", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}},
		}}}),
		vol("all", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "api"}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: ptr.To(true)}},
		}}}),
	)
	got, err := v.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ volume, path, want string }{
		{"conf", "deep/er/a.txt", "1"}, {"cred", "password", "hidden"},
		{"me", "labels", "app=\"web\"\nzone=\"a\""}, {"me", "app", "web"}, {"me", "cpu", "2"}, {"me", "mem", "64"}, {"me", "free", "2147483648"},
		{"all", "token", "token 1 of web for api"}, {"all", "a", "1"}, {"all", "b", "2"},
	} {
		if s := read(t, got[c.volume].HostPath, c.path); s != c.want {
			t.Errorf("%s/%s is %q, want %q", c.volume, c.path, s, c.want)
		}
		if !got[c.volume].ReadOnly {
			t.Errorf("volume %s is writable", c.volume)
		}
		var s unix.Statfs_t
		if err := unix.Statfs(got[c.volume].HostPath, &s); err != nil || s.Type != unix.TMPFS_MAGIC {
			t.Errorf("volume %s is not on a tmpfs", c.volume)
		}
	}
	for path, want := range map[string]fs.FileMode{
		filepath.Join(got["conf"].HostPath, "deep/er/a.txt"): 0o400,
		filepath.Join(got["cred"].HostPath, "password"):      0o600,
		filepath.Join(got["all"].HostPath, "token"):          0o644,
		filepath.Join(got["all"].HostPath, "a"):              0o644,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %o", path, info.Mode(), err, want)
		}
	}
	if err := v.Teardown(t.Context(), p.UID); err != nil {
		t.Fatal(err)
	}
	if left, err := v.Pods(); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// awaitFile waits until a file has this content.
func awaitFile(t *testing.T, path, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if data, err := os.ReadFile(path); err == nil && string(data) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never says %q", path, want)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestTokenIsForItsReader has tokens that the pod's process can read, whatever user it runs as, and others if they must.
func TestTokenIsForItsReader(t *testing.T) {
	v, _ := setup(t)
	as := func(uid int64) *corev1.SecurityContext { return &corev1.SecurityContext{RunAsUser: &uid} }
	for name, tc := range map[string]struct {
		pod      *corev1.PodSecurityContext
		first    *corev1.SecurityContext
		second   *corev1.SecurityContext
		mode     fs.FileMode
		uid, gid uint32
	}{
		"the image's user":   {nil, nil, nil, 0o644, 0, 0},
		"one of the pod":     {&corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}, nil, nil, 0o600, 1000, 0},
		"one of both":        {nil, as(1000), as(1000), 0o600, 1000, 0},
		"one of one":         {nil, as(1000), nil, 0o644, 0, 0},
		"two":                {&corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000)}, as(1001), nil, 0o644, 0, 0},
		"a group":            {&corev1.PodSecurityContext{FSGroup: ptr.To[int64](2000)}, nil, nil, 0o640, 0, 2000},
		"a user and a group": {&corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000), FSGroup: ptr.To[int64](2000)}, nil, nil, 0o640, 1000, 2000},
	} {
		p := pod(vol("v", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}}}))
		p.Spec.SecurityContext = tc.pod
		p.Spec.InitContainers = []corev1.Container{{Name: "first", SecurityContext: tc.first}}
		p.Spec.Containers = []corev1.Container{{Name: "second", SecurityContext: tc.second}}
		got, err := v.Setup(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		var s unix.Stat_t
		if err := unix.Stat(filepath.Join(got["v"].HostPath, "token"), &s); err != nil {
			t.Fatal(err)
		}
		if fs.FileMode(s.Mode).Perm() != tc.mode || s.Uid != tc.uid || s.Gid != tc.gid {
			t.Errorf("%s: mode %o of %d:%d, want %o of %d:%d", name, s.Mode&0o777, s.Uid, s.Gid, tc.mode, tc.uid, tc.gid)
		}
		if err := v.Teardown(t.Context(), p.UID); err != nil {
			t.Fatal(err)
		}
	}
}

// A change shows as a whole: links are switched, old files go, a key that went is gone.
func TestChangesArriveWhileThePodRuns(t *testing.T) {
	v, src := setup(t)
	p := pod(vol("conf", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}),
		vol("self", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "color", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['color']"}},
		}}}))
	got, err := v.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	dir := got["conf"].HostPath
	src.set("configmaps", "conf", map[string]string{"a": "changed", "c": "new"})
	awaitFile(t, filepath.Join(dir, "c"), "new")
	p = p.DeepCopy()
	p.Labels = map[string]string{"color": "blue"}
	v.Update(p)
	awaitFile(t, filepath.Join(got["self"].HostPath, "color"), "blue")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := read(t, dir, "a"); s != "changed" {
		t.Errorf("a is %q", s)
	}
	if _, err := os.Lstat(filepath.Join(dir, "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("b is still there: %v", err)
	}
	versions, _ := filepath.Glob(filepath.Join(dir, "..2*"))
	if len(versions) != 1 {
		t.Errorf("versions left: %v", versions)
	}
	before, _ := os.Readlink(filepath.Join(dir, dataLink))
	if err := os.Remove(filepath.Join(dir, "c")); err != nil { // as if the agent had been killed before it was there
		t.Fatal(err)
	}
	if _, err := v.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Readlink(filepath.Join(dir, dataLink)); after != before {
		t.Error("unchanged contents were written again")
	}
	if s := read(t, dir, "c"); s != "new" {
		t.Errorf("c is %q", s)
	}
}

func TestMissingObjectIsNamed(t *testing.T) {
	v, _ := setup(t)
	for _, s := range []corev1.VolumeSource{
		{Secret: &corev1.SecretVolumeSource{SecretName: "absent"}},
		{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Items: []corev1.KeyToPath{{Key: "absent", Path: "x"}}}},
	} {
		_, err := v.Setup(t.Context(), pod(vol("v", s)))
		var wait *WaitError
		if !errors.As(err, &wait) || wait.Volume != "v" || !strings.Contains(err.Error(), "absent") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := v.Setup(t.Context(), pod(vol("v", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}))); err == nil {
		t.Error("an unknown source was accepted")
	}
}

func TestPathsStayInside(t *testing.T) {
	v, _ := setup(t)
	for _, path := range []string{"../out", "/etc/passwd", "a/../../out", "..data"} {
		_, err := v.Setup(t.Context(), pod(vol("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Items: []corev1.KeyToPath{{Key: "a", Path: path}}}})))
		if err == nil {
			t.Errorf("path %q was written", path)
		}
	}
}

func TestEmptyDir(t *testing.T) {
	v, _ := setup(t)
	limit := resource.MustParse("1Mi")
	p := pod(vol("disk", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		vol("mem", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}))
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To[int64](2000)}
	got, err := v.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range got {
		info, err := os.Stat(m.HostPath)
		if err != nil || info.Mode().Perm() != 0o777 || info.Mode()&fs.ModeSetgid == 0 || m.ReadOnly {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if err := os.WriteFile(filepath.Join(m.HostPath, "f"), []byte("kept"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(got["mem"].HostPath, "big"), make([]byte, 2<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a memory volume took more than its limit: %v", err)
	}
	if _, err := v.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, m := range got {
		if s := read(t, m.HostPath, "f"); s != "kept" {
			t.Errorf("a second setup lost contents: %q", s)
		}
	}
}

func TestHostPathTypes(t *testing.T) {
	v, _ := setup(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		typ  corev1.HostPathType
		ok   bool
	}{
		{"file", corev1.HostPathFile, true}, {"file", corev1.HostPathDirectory, false}, {"none", corev1.HostPathFile, false},
		{"new", corev1.HostPathDirectoryOrCreate, true}, {"newfile", corev1.HostPathFileOrCreate, true},
		{"file", corev1.HostPathSocket, false}, {"file", corev1.HostPathUnset, true}, {"file", "Odd", false},
	} {
		_, err := v.Setup(t.Context(), pod(vol("h", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(dir, c.path), Type: &c.typ}})))
		if (err == nil) != c.ok {
			t.Errorf("%s as %q: %v", c.path, c.typ, err)
		}
	}
}
