package volume

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// logged is what a manager has logged so far.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running runs the manager in the bubble of a test; pass lets time go by, and everything that is due by then be done.
func running(t *testing.T, v *Volumes) (pass func(time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(d time.Duration) {
		<-time.After(d) // of the bubble
		synctest.Wait()
	}
}

func tokenOf(path, audience string, seconds int64) corev1.VolumeProjection {
	return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: path, Audience: audience, ExpirationSeconds: ptr.To(seconds)}}
}

func confOf(name string) corev1.VolumeProjection {
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func projected(name string, sources ...corev1.VolumeProjection) corev1.Volume {
	return vol(name, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}})
}

// TestTokensAreKept writes volumes again and again: a token is asked for once, until a fifth of its life is left.
func TestTokensAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, src := setup(t)
		pass := running(t, v)
		p := pod(projected("a", tokenOf("t", "api", 86400), confOf("conf")), projected("b", tokenOf("t", "api", 86400), tokenOf("other", "vault", 600)))
		got, err := v.Setup(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		asked := func(when string, api, vault int) {
			t.Helper()
			src.mu.Lock()
			defer src.mu.Unlock()
			if want := map[string]int{"api": api, "vault": vault}; !maps.Equal(src.asked, want) {
				t.Errorf("%s: asked for %v, want %v", when, src.asked, want)
			}
		}
		asked("the first time", 1, 1)
		src.set("configmaps", "conf", map[string]string{"a": "changed"})
		pass(0)
		if s := read(t, got["a"].HostPath, "a"); s != "changed" {
			t.Errorf("a is %q", s)
		}
		if _, err := v.Setup(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		asked("after a change and a second setup", 1, 1)
		pass(8*time.Minute - time.Second)
		asked("with more than a fifth of ten minutes left", 1, 1)
		pass(checkEvery + time.Second)
		asked("with less", 1, 2)
		if s := read(t, got["b"].HostPath, "other"); s != "token 2 of web for vault" {
			t.Errorf("other is %q", s)
		}

		src.refuse(errors.New("no API server answers"))
		pass(9 * time.Minute)
		if _, err := v.Setup(t.Context(), p); err != nil {
			t.Errorf("a token that lives on was not enough: %v", err)
		}
		src.set("configmaps", "conf", map[string]string{"a": "again"})
		pass(0)
		if s := read(t, got["a"].HostPath, "a"); s != "again" {
			t.Errorf("a is %q while a token can not be renewed", s)
		}
		pass(time.Minute + time.Second)
		var wait *WaitError
		if _, err := v.Setup(t.Context(), p); !errors.As(err, &wait) || wait.Kind != "ServiceAccount" {
			t.Errorf("with a token that has ended: %v", err)
		}
		src.refuse(nil)
		if _, err := v.Setup(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		asked("once it is given", 1, 3)
		// The server gave an hour, not the day that was asked for.
		pass(48*time.Minute + checkEvery)
		src.mu.Lock()
		api, before := src.asked["api"], src.asked["vault"]
		src.mu.Unlock()
		if api != 2 {
			t.Errorf("asked %d times for a token of an hour", api)
		}

		if err := v.Teardown(t.Context(), p.UID); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Setup(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		asked("for another pod", 3, before+1)
	})
}

// TestRefreshIsToldOnce logs what keeps volumes from being refreshed once, and nothing of what goes with its pod.
func TestRefreshIsToldOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		fail func(v *Volumes, src *objects, p *corev1.Pod)
		want int
		late int // after the next try
	}{
		"an object that is gone": {func(_ *Volumes, src *objects, _ *corev1.Pod) { src.remove("configmaps", "conf") }, 0, 1},
		"one that is gone with its pod": {func(v *Volumes, src *objects, p *corev1.Pod) {
			src.remove("configmaps", "conf")
			v.Ending(p.UID)
		}, 0, 0},
		"a token that is refused": {func(_ *Volumes, src *objects, _ *corev1.Pod) {
			src.refuse(apierrors.NewForbidden(corev1.Resource("serviceaccounts/token"), "sa", errors.New("no pod of the node has it")))
		}, 0, 1},
		"a server that is away": {func(_ *Volumes, src *objects, _ *corev1.Pod) { src.refuse(errors.New("no API server answers")) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, src := setup(t)
				var log logged
				v.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				pass := running(t, v)
				p := pod(projected("v", tokenOf("t", "", 600), confOf("conf")))
				got, err := v.Setup(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				pass(8 * time.Minute)
				tc.fail(v, src, p)
				pass(checkEvery)
				lines := func() int { return strings.Count(log.String(), "\n") }
				if lines() != tc.want {
					t.Errorf("at once it tells\n%s", &log)
				}
				pass(retryEvery + checkEvery)
				if pass(5 * retryEvery); lines() != tc.late {
					t.Errorf("later it tells\n%s", &log)
				}
				src.refuse(nil)
				src.set("configmaps", "conf", map[string]string{"a": "back"})
				pass(retryEvery + checkEvery)
				if s := read(t, got["v"].HostPath, "a"); s != "back" || lines() != tc.late {
					t.Errorf("in the end a is %q, and it tells\n%s", s, &log)
				}
			})
		})
	}
}

// TestOnlyWhatIsSetUpIsRefreshed leaves a pod alone that waits for an object: whoever sets it up tries that again.
func TestOnlyWhatIsSetUpIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, src := setup(t)
		var log logged
		v.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		pass := running(t, v)
		p := pod(projected("v", confOf("conf")), projected("w", confOf("late")))
		var wait *WaitError
		if _, err := v.Setup(t.Context(), p); !errors.As(err, &wait) {
			t.Errorf("error %v", err)
		}
		src.set("configmaps", "conf", map[string]string{"a": "changed"})
		if pass(5 * retryEvery); log.String() != "" {
			t.Errorf("it tells\n%s", &log)
		}
		src.set("configmaps", "late", map[string]string{"b": "there"})
		got, err := v.Setup(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		src.set("configmaps", "conf", map[string]string{"a": "again"})
		pass(0)
		if s := read(t, got["v"].HostPath, "a"); s != "again" {
			t.Errorf("a is %q", s)
		}
	})
}
