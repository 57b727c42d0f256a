package helm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/single"
)

const (
	chart = "testdata/chart"
	// patience is for what succeeds; it covers pods that start on a busy machine.
	patience = "2m"
	// failsAfter is for the image that is not there. It also bounds the way back, which starts no pods without hooks.
	failsAfter = "30s"
	// commandTimeout covers what Helm waits for in one command: hooks, the objects and the way back, each with patience.
	commandTimeout = 4 * 2 * time.Minute
)

// life is one release's way through Helm.
type life struct {
	*testing.T
	binary   string
	name     string // of the release and of its namespace
	atomic   string // the flag that undoes what fails
	home     string // with Helm's cache, as a user has it
	password string // that the chart made once
	dynamic  dynamic.Interface
}

func newLife(t *testing.T, version string) *life {
	t.Helper()
	l := &life{T: t, binary: binary(version), name: "shop-" + major(version), home: t.TempDir(), atomic: "--atomic"}
	if major(version) != "v3" {
		l.atomic = "--rollback-on-failure" // the new name of the same
	}
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandler = rest.NoWarnings{} // that Endpoints are deprecated
	var err error
	if l.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return l
}

// run takes the chart from its installation to its end.
func (l *life) run() {
	l.undone()
	l.install()
	l.test()
	l.upgrade()
	l.refused()
	l.broken()
	l.rollback()
	l.idle()
	l.uninstall()
}

// try runs Helm with an environment of its own.
func (l *life) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.binary, append(args, "--namespace", l.name)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.home, "KUBECONFIG=" + cluster.Kubeconfig}
	started := time.Now()
	out, err := cmd.CombinedOutput()
	l.Logf("helm %s: %v", strings.Join(args, " "), time.Since(started).Round(100*time.Millisecond))
	if err != nil {
		err = fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (l *life) helm(args ...string) string {
	l.Helper()
	out, err := l.try(args...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

func (l *life) says(out string, want ...string) {
	l.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			l.Errorf("Helm does not say %q:\n%s", text, out)
		}
	}
}

// undone installs everything, and fails with the last hook: all of it goes again.
func (l *life) undone() {
	l.Helper()
	out, err := l.try("install", l.name, chart, "--create-namespace", "--wait", l.atomic, "--timeout", patience, "--set", "afterExit=3")
	if err == nil {
		l.Fatalf("an installation whose hook fails succeeds:\n%s", out)
	}
	l.says(err.Error(), "failed post-install", l.name+"-after", "uninstalled due to")
	l.gone()
}

func (l *life) install() {
	l.Helper()
	out := l.helm("install", l.name, chart, "--create-namespace", "--wait", l.atomic, "--timeout", patience)
	l.says(out, "STATUS: deployed", "REVISION: 1", "says Hello with 1 replicas")
	l.history("deployed")
	l.serves(1, "Hello")
	l.stands()
	l.lookedUp()
	l.hooked()
	l.matters()
}

func (l *life) test() {
	l.Helper()
	out := l.helm("test", l.name, "--logs", "--timeout", patience)
	l.says(out, "Succeeded", "POD LOGS: "+l.name+"-answers", "Hello")
}

func (l *life) upgrade() {
	l.Helper()
	before := l.hook("first")
	out := l.helm("upgrade", l.name, chart, "--wait", l.atomic, "--timeout", patience, "--set", "replicas=2,greeting=Welcome,cache.size=4Mi")
	l.says(out, "STATUS: deployed", "REVISION: 2", "says Welcome with 2 replicas")
	l.welcomes("superseded", "deployed")
	if after := l.hook("first"); after.UID == before.UID || after.Status.Phase != corev1.PodSucceeded {
		l.Errorf("the hook before the upgrade is pod %s, %s; that of the installation was %s", after.UID, after.Status.Phase, before.UID)
	}
}

// welcomes is the state after the upgrade, to which those that fail return.
func (l *life) welcomes(history ...string) {
	l.Helper()
	l.history(history...)
	l.serves(2, "Welcome")
	l.stands()
	l.lookedUp()
	if got := l.configMap(l.name + "-cache").Data["size"]; got != "4Mi" {
		l.Errorf("the subchart has size %q", got)
	}
	if shop := l.get("example.com/v1", "Shop", l.name); nested(shop, "spec", "greeting") != "Welcome" {
		l.Errorf("the custom resource is %v", shop.Object["spec"])
	}
}

// refused upgrades to what the chart's own policy does not admit.
func (l *life) refused() {
	l.Helper()
	out, err := l.try("upgrade", l.name, chart, "--wait", l.atomic, "--timeout", patience, "--set", "replicas=2,greeting=Refused,forbidden=true")
	if err == nil {
		l.Fatalf("an upgrade that is refused succeeds:\n%s", out)
	}
	l.says(err.Error(), "has been rolled back", fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%[1]s' denied request: %[1]s has nothing to do with what is forbidden", l.name))
	l.welcomes("superseded", "superseded", "failed", "deployed")
}

// broken upgrades to an image that is not there.
func (l *life) broken() {
	l.Helper()
	out, err := l.try("upgrade", l.name, chart, "--wait", l.atomic, "--timeout", failsAfter, "--no-hooks", "--set", "replicas=2,greeting=Broken,image=localhost/none:1")
	if err == nil {
		l.Fatalf("an upgrade that can not succeed does:\n%s", out)
	}
	l.says(err.Error(), "has been rolled back", "context deadline exceeded")
	l.welcomes("superseded", "superseded", "failed", "superseded", "failed", "deployed")
}

func (l *life) rollback() {
	l.Helper()
	l.helm("rollback", l.name, "1", "--wait", "--timeout", patience)
	l.history("superseded", "superseded", "failed", "superseded", "failed", "superseded", "deployed")
	l.serves(1, "Hello")
	l.stands()
	l.lookedUp()
	if got := l.configMap(l.name + "-rolled").Data["revision"]; got != "1" {
		l.Errorf("the hook after the rollback is of revision %q", got)
	}
	l.says(l.helm("get", "values", l.name, "--all"), "greeting: Hello")
	l.says(l.helm("status", l.name), "STATUS: deployed", "REVISION: 7")
	l.says(l.helm("list"), l.name, "shop-1.0.0")
}

// idle adds the kinds that nothing runs yet, without waiting for them: the release has all kinds now.
func (l *life) idle() {
	l.Helper()
	l.helm("upgrade", l.name, chart, "--set", "idle.enabled=true", "--timeout", patience)
	l.stands()
	l.complete()
}

// uninstall wants all to go but what is to be kept, and hooks, which no release owns.
func (l *life) uninstall() {
	l.Helper()
	l.says(l.helm("uninstall", l.name, "--wait", "--timeout", patience), "uninstalled", "[ConfigMap] "+l.name+"-kept")
	l.gone()
	l.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "shops.example.com") // Helm never deletes one
}

// gone wants nothing to be left of the release but what is to be kept, and hooks.
func (l *life) gone() {
	l.Helper()
	l.history()
	l.await("all goes", func() error {
		pods, err := cluster.Client.CoreV1().Pods(l.name).List(l.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		left := l.left()
		for _, p := range pods.Items {
			if p.Annotations["helm.sh/hook"] == "" {
				left = append(left, "pods/"+p.Name)
			}
		}
		if !slices.Equal(left, []string{"configmaps/" + l.name + "-kept"}) {
			return fmt.Errorf("what is left: %q", left)
		}
		return nil
	})
	if _, err := cluster.Client.CoreV1().Namespaces().Get(l.Context(), l.name+"-extra", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		l.Errorf("the chart's namespace stays: %v", err)
	}
	if _, err := cluster.Client.CoreV1().Pods(l.name).Get(l.Context(), l.name+"-leaving", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		l.Errorf("the last hook stays: %v", err)
	}
}

// history wants the release's revisions, as Helm stores them in the cluster and shows them, to be in these states.
func (l *life) history(want ...string) {
	l.Helper()
	secrets, err := cluster.Client.CoreV1().Secrets(l.name).List(l.Context(), metav1.ListOptions{LabelSelector: "owner=helm,name=" + l.name})
	if err != nil {
		l.Fatal(err)
	}
	slices.SortFunc(secrets.Items, func(a, b corev1.Secret) int { return cmp.Compare(a.Labels["version"], b.Labels["version"]) })
	var got []string
	for _, s := range secrets.Items {
		got = append(got, s.Labels["status"])
	}
	if !slices.Equal(got, want) {
		l.Errorf("the revisions stored are %q, want %q", got, want)
	}
	if len(want) == 0 {
		return
	}
	out := l.helm("history", l.name, "--output", "json")
	var revisions []struct{ Status string }
	if err := json.Unmarshal([]byte(out), &revisions); err != nil {
		l.Fatalf("%v in %s", err, out)
	}
	got = nil
	for _, r := range revisions {
		got = append(got, r.Status)
	}
	if !slices.Equal(got, want) {
		l.Errorf("the history is %q, want %q", got, want)
	}
}

func (l *life) await(what string, try func() error) {
	l.Helper()
	if err := single.Until(l.Context(), what, try); err != nil {
		l.Fatal(err)
	}
}
