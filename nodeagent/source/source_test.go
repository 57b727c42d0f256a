package source

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newObjects(t *testing.T, client kubernetes.Interface) *Objects {
	t.Helper()
	o := New(client, slog.New(slog.DiscardHandler))
	t.Cleanup(o.Close)
	return o
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// changes are the names that a source said have changed.
type changes struct {
	mu    sync.Mutex
	names []string
}

func (c *changes) add(namespace, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, namespace+"/"+name)
}

func (c *changes) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names)
}

// TestObjects follows a secret and a config map of one name through their lives. Each is watched by itself, and nothing else is.
func TestObjects(t *testing.T) {
	a, client := newAPI(t)
	o := newObjects(t, client)
	var told changes
	o.Changed(told.add)
	secret, config := key{"secrets", "ns", "x"}, key{"configmaps", "ns", "x"}
	a.set(key{"secrets", "ns", "other"}, &corev1.Secret{})
	a.set(key{"secrets", "elsewhere", "x"}, &corev1.Secret{})
	a.set(config, &corev1.ConfigMap{Data: map[string]string{"k": "1"}})
	if cm, err := o.ConfigMap(t.Context(), "ns", "x"); err != nil || cm.Data["k"] != "1" {
		t.Errorf("config map %+v, %v", cm, err)
	}
	if s, err := o.Secret(t.Context(), "ns", "x"); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), `secrets "x"`) {
		t.Errorf("missing secret %+v, %v", s, err)
	}
	eventually(t, "watches", func() bool { return slices.Equal(a.watched(), []string{"configmaps/ns/x", "secrets/ns/x"}) })
	eventually(t, "word of the config map", func() bool { return told.count() == 1 })
	a.set(secret, &corev1.Secret{Data: map[string][]byte{"k": []byte("1")}})
	eventually(t, "word of the secret", func() bool { return told.count() == 2 })
	if s, err := o.Secret(t.Context(), "ns", "x"); err != nil || string(s.Data["k"]) != "1" {
		t.Errorf("new secret %+v, %v", s, err)
	}
	a.set(secret, &corev1.Secret{Data: map[string][]byte{"k": []byte("2")}})
	eventually(t, "word of its change", func() bool { return told.count() == 3 })
	if s, err := o.Secret(t.Context(), "ns", "x"); err != nil || string(s.Data["k"]) != "2" {
		t.Errorf("changed secret %+v, %v", s, err)
	}
	a.set(secret, nil)
	eventually(t, "word of its end", func() bool { return told.count() == 4 })
	if s, err := o.Secret(t.Context(), "ns", "x"); !apierrors.IsNotFound(err) {
		t.Errorf("secret that is gone %+v, %v", s, err)
	}
	for _, name := range told.names {
		if name != "ns/x" {
			t.Errorf("word of %s", name)
		}
	}
}

// TestRefusal says at once why an object can not be had, and has it as soon as it can; what was had once stays while the API server
// does not answer.
func TestRefusal(t *testing.T) {
	a, client := newAPI(t)
	o := newObjects(t, client)
	a.set(key{"secrets", "ns", "x"}, &corev1.Secret{Data: map[string][]byte{"k": []byte("1")}})
	a.refuse(true)
	if _, err := o.Secret(t.Context(), "ns", "x"); !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), "cannot read secrets ns/x: ") {
		t.Errorf("refused with %v", err)
	}
	a.refuse(false)
	eventually(t, "the secret", func() bool { _, err := o.Secret(t.Context(), "ns", "x"); return err == nil })
	failing := func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.watched[key{"secrets", "ns", "x"}].failed != nil
	}
	eventually(t, "a watch", func() bool { return len(a.watched()) == 1 && !failing() })
	a.refuse(true)
	eventually(t, "a failure", failing)
	if s, err := o.Secret(t.Context(), "ns", "x"); err != nil || string(s.Data["k"]) != "1" {
		t.Errorf("while the server refuses: %+v, %v", s, err)
	}
}

// everything is a pod that names an object in every place where a pod can; the names say where.
func everything() *corev1.Pod {
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	container := func(name string) corev1.Container {
		return corev1.Container{
			EnvFrom: []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local(name + "-from")}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local(name + "-from")}}},
			Env: []corev1.EnvVar{
				{Name: "VALUE"},
				{Name: "CONFIG", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local(name + "-key")}}},
				{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(name + "-key")}}},
			},
		}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{container("init")}, Containers: []corev1.Container{container("main")},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(container("debug"))}},
		ImagePullSecrets:    []corev1.LocalObjectReference{local("pull")},
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("volume")}}},
			{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}}},
			{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("projected")}}, {Secret: &corev1.SecretProjection{LocalObjectReference: local("projected")}}}}}},
		},
	}}
}

// TestRetain ends the watches of what no pod names and nobody has asked for lately, and no others.
func TestRetain(t *testing.T) {
	a, client := newAPI(t)
	o := newObjects(t, client)
	ask := func(kind, name string) {
		t.Helper()
		var err error
		if kind == "secrets" {
			_, err = o.Secret(t.Context(), "ns", name)
		} else {
			_, err = o.ConfigMap(t.Context(), "ns", name)
		}
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s %s: %v", kind, name, err)
		}
	}
	keep := []string{"secrets/ns/pull"}
	for _, name := range []string{"init-from", "init-key", "main-from", "main-key", "debug-from", "debug-key", "volume", "projected"} {
		keep = append(keep, "configmaps/ns/"+name, "secrets/ns/"+name)
	}
	for _, name := range append(keep, "secrets/ns/idle", "configmaps/ns/idle") {
		kind, rest, _ := strings.Cut(name, "/")
		ask(kind, strings.TrimPrefix(rest, "ns/"))
	}
	eventually(t, "watches", func() bool { return len(a.watched()) == len(keep)+2 })
	o.mu.Lock()
	for _, w := range o.watched {
		w.used = w.used.Add(-idleAfter - time.Second)
	}
	o.mu.Unlock()
	ask("secrets", "late")
	keep = append(keep, "secrets/ns/late")
	slices.Sort(keep)
	o.Retain([]*corev1.Pod{everything()})
	eventually(t, "only those in use are watched", func() bool { return slices.Equal(a.watched(), keep) })
	ask("secrets", "idle") // is watched anew
	eventually(t, "watch of what is asked for again", func() bool { return slices.Contains(a.watched(), "secrets/ns/idle") })
	o.Close()
	eventually(t, "no watches", func() bool { return len(a.watched()) == 0 })
}

// TestToken asks for tokens that end with their pod.
func TestToken(t *testing.T) {
	a, client := newAPI(t)
	o := newObjects(t, client)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{ServiceAccountName: "sa"}}
	for _, audience := range []string{"vault", ""} {
		token, life, err := o.Token(t.Context(), pod, audience, 1200)
		if err != nil || token != "token of ns/sa" || life != 10*time.Minute { // which is all that it was given
			t.Errorf("token %q for %v, %v", token, life, err)
		}
		req := a.requests[len(a.requests)-1].Spec
		var want []string // without one, the API server's own
		if audience != "" {
			want = []string{audience}
		}
		if b := req.BoundObjectRef; b == nil || b.Kind != "Pod" || b.APIVersion != "v1" || b.Name != "p" || b.UID != "u" || *req.ExpirationSeconds != 1200 || !slices.Equal(req.Audiences, want) {
			t.Errorf("asked with %+v", req)
		}
	}
	a.refuse(true)
	if token, _, err := o.Token(t.Context(), pod, "", 600); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ns/sa") {
		t.Errorf("refused token %q, %v", token, err)
	}
}
