package pod_test

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/stream"
)

// TestVolumesFollowObjects reads files in a container that runs while what they show changes. A mount of a subPath shows what was
// there when its container started.
func TestVolumesFollowObjects(t *testing.T) {
	g := newRig(t)
	set := func(config, secret string) {
		g.objects.add("conf", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: map[string]string{"f": config}})
		g.objects.addSecret("cred", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cred"}, Data: map[string][]byte{"f": []byte(secret)}})
	}
	set("conf-1", "cred-1")
	g.start()
	color := []corev1.DownwardAPIVolumeFile{{Path: "f", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['color']"}}}
	conf, items := corev1.LocalObjectReference{Name: "conf"}, func(path string) []corev1.KeyToPath { return []corev1.KeyToPath{{Key: "f", Path: path}} }
	sources := map[string]corev1.VolumeSource{
		"conf": {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: conf}},
		"cred": {Secret: &corev1.SecretVolumeSource{SecretName: "cred"}},
		"self": {DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: color}},
		"all": {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: color}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: conf, Items: items("in/conf")}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "cred"}, Items: items("cred")}},
		}}},
	}
	g.create(newPod("v", idle, func(p *corev1.Pod) {
		p.Labels = map[string]string{"color": "color-1"}
		for name, s := range sources {
			once := "f"
			if name == "all" {
				once = "in/conf"
			}
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: s})
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts,
				corev1.VolumeMount{Name: name, MountPath: "/" + name}, corev1.VolumeMount{Name: name, MountPath: "/once/" + name, SubPath: once})
		}
	}))
	g.await("v", "ready", isReady)
	sees := func(live, once string) {
		t.Helper()
		want := live + once
		var out bytes.Buffer
		g.eventually("the container sees "+want, func() bool {
			out.Reset()
			code, err := g.m.Exec(t.Context(), "default", "v", "c", []string{"/bin/sh", "-c",
				"for f in conf/f cred/f self/f all/f all/in/conf all/cred once/conf once/cred once/self once/all; do cat /$f; echo; done"}, stream.Streams{Stdout: &out})
			return err == nil && code == 0 && out.String() == want
		})
	}
	const (
		live1, once1 = "conf-1\ncred-1\ncolor-1\ncolor-1\nconf-1\ncred-1\n", "conf-1\ncred-1\ncolor-1\nconf-1\n"
		live2, once2 = "conf-2\ncred-2\ncolor-2\ncolor-2\nconf-2\ncred-2\n", "conf-2\ncred-2\ncolor-2\nconf-2\n"
	)
	sees(live1, once1)
	set("conf-2", "cred-2")
	g.change("v", func(p *corev1.Pod) { p.Labels["color"] = "color-2" })
	sees(live2, once1)
	if _, err := g.m.Exec(t.Context(), "default", "v", "c", []string{"kill", "1"}, stream.Streams{}); err != nil {
		t.Fatal(err) // its code says nothing: it may itself be killed with process 1
	}
	g.await("v", "restarted", func(p *corev1.Pod) bool { return statusOf(p, "c").RestartCount == 1 && isReady(p) })
	sees(live2, once2)
}
