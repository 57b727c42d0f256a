package pod_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container/containertest"
)

// TestPullSecrets has pods want the image of a registry that asks for a name and password.
func TestPullSecrets(t *testing.T) {
	g := newRig(t)
	fake := clocktesting.NewFakeClock(time.Now())
	g.clock = fake
	reg := containertest.NewRegistry()
	t.Cleanup(reg.Close)
	img, err := containertest.Busybox(nil)
	g.must(err)
	private, err := reg.Push("team/app:1", img)
	g.must(err)
	reg.Lock("u", "p")
	secret := func(password string) *corev1.Secret {
		return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
			corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":"u","password":%q}}}`, reg.Host, password)}}
	}
	g.objects.addSecret("right", secret("p"))
	g.objects.addSecret("wrong", secret("x"))
	g.objects.addSecret("old", &corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{
		corev1.DockerConfigKey: fmt.Appendf(nil, `{%q:{"username":"u","password":"p"}}`, reg.Host)}})
	g.start()
	create := func(name string, secrets ...string) {
		g.create(newPod(name, idle, func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = private, corev1.PullAlways
			for _, s := range secrets {
				p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
			}
		}))
	}
	create("json", "right")
	create("cfg", "", "late", "old")
	g.await("json", "ready", isReady)
	g.await("cfg", "ready", isReady)
	fails := map[string]string{"none": "no basic auth credentials", "bad": "401 Unauthorized", "missing": "no basic auth credentials"}
	create("none")
	create("bad", "wrong")
	create("missing", "late", "later")
	waiting := func(reason, cause string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			s := statusOf(p, "c").State.Waiting
			return s != nil && s.Reason == reason && strings.Contains(s.Message, private) && strings.Contains(s.Message, cause)
		}
	}
	for name, cause := range fails {
		g.await(name, "failed", waiting("ErrImagePull", cause))
	}
	passing := func(step time.Duration, cond func(*corev1.Pod) bool) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool { fake.Step(step); return cond(p) }
	}
	for name, cause := range fails {
		g.await(name, "backed off", passing(100*time.Millisecond, waiting("ImagePullBackOff", cause)))
	}
	for _, e := range []string{
		"FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (late); ", // and is pulled by another
		"FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (late, later); attempting to pull the image may not succeed.",
	} {
		if !g.events.has(e) {
			t.Errorf("no event %q in %q", e, g.events.events)
		}
	}
	g.objects.addSecret("late", secret("p"))
	g.await("missing", "ready", passing(time.Second, isReady))
}

// TestImageComes has pods that wait for the next pull of an image: they run when it is put onto the node, or when they are
// given another image, and not only after the pause.
func TestImageComes(t *testing.T) {
	g := newRig(t)
	fake := clocktesting.NewFakeClock(time.Now())
	g.clock = fake
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.must(err)
	nowhere := l.Addr().String()
	g.must(l.Close())
	g.start()
	fails := map[string]string{}
	for name, policy := range map[string]corev1.PullPolicy{"pulled": corev1.PullIfNotPresent, "never": corev1.PullNever, "other": corev1.PullIfNotPresent} {
		ref := nowhere + "/" + name + ":1"
		fails[name] = fmt.Sprintf("Failed Failed to pull image %q", ref)
		if policy == corev1.PullNever {
			fails[name] = fmt.Sprintf("ErrImageNeverPull Container image %q", ref)
		}
		g.create(newPod(name, idle, func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = ref, policy
		}))
	}
	failed := func(times int) {
		for name, event := range fails {
			g.eventually(name+" failed", func() bool { return g.events.count(event) == times })
		}
	}
	failed(1)
	fake.Step(10 * time.Second)
	failed(2) // and the next pull is 20 s from now
	g.change("other", func(p *corev1.Pod) { p.Spec.Containers[0].Image = testImage })
	g.await("other", "ready", isReady)
	g.load(nowhere + "/pulled:1")
	g.load(nowhere + "/never:1")
	fake.Step(10 * time.Second)
	g.await("pulled", "ready", isReady)
	g.await("never", "ready", isReady)
}
