package api_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/encryption"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// goldenEnv names the release whose data directory TestGolden is to write before it reads all of them; `make
// golden` sets it.
const goldenEnv = "FAIRLEAD_GOLDEN"

const (
	goldenDir = "testdata/golden"
	// manifestFile is in the archive beside the data directory: the objects as the release itself read them.
	manifestFile = "objects.json"
	goldenSecret = "the value of a secret that is encrypted"
)

// TestGolden opens the data directory of every release since the first: each object must be read as the release
// read it, and a server must become ready on it and keep the rules that what is stored asks for.
func TestGolden(t *testing.T) {
	if release := os.Getenv(goldenEnv); release != "" {
		writeGolden(t, filepath.Join(goldenDir, "v"+strings.TrimPrefix(release, "v")+".tar.gz"))
	}
	archives, err := filepath.Glob(filepath.Join(goldenDir, "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("there is no golden data directory: %v", err)
	}
	newest := slices.MaxFunc(archives, func(a, b string) int {
		switch va, vb := releaseOf(t, a), releaseOf(t, b); {
		case va.LessThan(vb):
			return -1
		case vb.LessThan(va):
			return 1
		}
		return 0
	})
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".tar.gz"), func(t *testing.T) {
			dir := t.TempDir()
			extract(t, path, dir)
			want := readManifest(t, filepath.Join(dir, manifestFile))
			if path == newest {
				complete(t, want)
			}
			compareGolden(t, readStored(t, dir), want)
			serveGolden(t, dir, want)
		})
	}
}

// releaseOf returns the release that an archive is named after.
func releaseOf(t *testing.T, path string) *version.Version {
	t.Helper()
	v, err := version.ParseSemantic(strings.TrimSuffix(filepath.Base(path), ".tar.gz"))
	if err != nil {
		t.Fatalf("%s is not named after a release: %v", path, err)
	}
	return v
}

// complete fails the test for each kind without an object in a manifest: the next release could not tell whether it reads it.
func complete(t *testing.T, manifest map[string][]map[string]any) {
	t.Helper()
	for _, k := range kind.Builtin().Kinds() {
		if len(manifest[k.GroupResource().String()]) == 0 {
			t.Errorf("there is no object of kind %s: write the data anew before the release (make golden)", k.Kind)
		}
	}
}

// readStored returns all objects of a data directory by kind, without a server that would change them.
func readStored(t *testing.T, dir string) map[string][]kind.Object {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	m, err := etcd.Start(t.Context(), etcd.Config{DataDir: filepath.Join(dir, "etcd"), Name: "fairlead", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	keys, err := encryption.Open(filepath.Join(dir, "pki/encryption.json"), "secrets")
	if err != nil {
		t.Fatal(err)
	}
	checkRaw(t, m.Client)
	s := store.New(m.Client, kind.Builtin().Kinds(), store.Options{Log: log, Transform: keys})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // Run's result, read below
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	out := map[string][]kind.Object{}
	for _, k := range kind.Builtin().Kinds() {
		list, err := s.List(ctx, k, store.ListQuery{})
		if err != nil {
			t.Fatalf("cannot read the stored %s: %v", k.Plural, err)
		}
		for _, item := range list.Items {
			out[k.GroupResource().String()] = append(out[k.GroupResource().String()], item.Object)
		}
	}
	return out
}

// checkRaw holds what is below the objects: secrets are not in the clear, what expires has a lease, and what must
// be unique is claimed.
func checkRaw(t *testing.T, c *clientv3.Client) {
	t.Helper()
	all, err := c.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	leased, claims := 0, 0
	for _, kv := range all.Kvs {
		if bytes.Contains(kv.Value, []byte(goldenSecret)) {
			t.Errorf("%s has a secret in the clear", kv.Key)
		}
		if kv.Lease != 0 {
			leased++
		}
		if bytes.Contains(kv.Key, []byte("nodeport/TCP/30080")) {
			claims++
		}
	}
	if leased == 0 || claims == 0 {
		t.Errorf("of %d keys %d have a lease and %d are the node port's claim", len(all.Kvs), leased, claims)
	}
}

// compareGolden holds every object to the manifest. What a later release adds is no difference: a default, a kind.
func compareGolden(t *testing.T, got map[string][]kind.Object, want map[string][]map[string]any) {
	t.Helper()
	for resource, objects := range want {
		if len(got[resource]) != len(objects) {
			t.Errorf("%d %s are read, the release had %d", len(got[resource]), resource, len(objects))
			continue
		}
		for i, o := range objects {
			if path := differs(o, plain(t, got[resource][i]), resource+"/"+got[resource][i].GetName()); path != "" {
				t.Errorf("not as the release read it: %s", path)
			}
		}
	}
}

func plain(t *testing.T, obj any) map[string]any {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// differs returns where got lacks something of want, or has it otherwise; "" when it does not.
func differs(want, got any, path string) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		for key := range w {
			if !ok {
				break
			}
			if at := differs(w[key], g[key], path+"."+key); at != "" {
				return at
			}
		}
		if ok {
			return ""
		}
	case []any:
		g, ok := got.([]any)
		if ok && len(g) == len(w) {
			for i := range w {
				if at := differs(w[i], g[i], fmt.Sprintf("%s[%d]", path, i)); at != "" {
					return at
				}
			}
			return ""
		}
	default:
		if reflect.DeepEqual(want, got) {
			return ""
		}
	}
	return fmt.Sprintf("%s is %v, was %v", path, got, want)
}

// golden is a server on a data directory.
type golden struct {
	server *controlplane.Server
	config *rest.Config
	stop   func()
}

func runGolden(t *testing.T, dir string) *golden {
	t.Helper()
	s, err := controlplane.New(config.Server{DataDir: dir, Listen: "127.0.0.1:0", Audit: config.Audit{Level: string(api.AuditNone)}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // Run's result, read below
	go func() { ended <- s.Run(ctx) }()
	g := &golden{server: s, stop: func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the server ended: %v", err)
		}
	}}
	select {
	case <-s.Ready():
	case err := <-ended:
		cancel()
		t.Fatalf("the server ended: %v", err)
	case <-time.After(time.Minute):
		g.stop()
		t.Fatal("the server does not get ready")
	}
	if g.config, err = clientcmd.BuildConfigFromFlags("", filepath.Join(dir, controlplane.AdminKubeconfig)); err != nil {
		g.stop()
		t.Fatal(err)
	}
	g.config.QPS = -1
	return g
}

// serveGolden starts a server on the data and asks it for the samples.
func serveGolden(t *testing.T, dir string, want map[string][]map[string]any) {
	t.Helper()
	g := runGolden(t, dir)
	defer g.stop()
	dyn, kube := dynamic.NewForConfigOrDie(g.config), kubernetes.NewForConfigOrDie(g.config)
	for _, k := range kind.Builtin().Kinds() {
		for _, o := range want[k.GroupResource().String()] {
			was := unstructured.Unstructured{Object: o}
			// old events and requests for certificates are removed, by their lease and a controller
			if was.GetName() != sampleOf(k, sampleName) || k.TTL != nil || k.Plural == "certificatesigningrequests" {
				continue
			}
			var c dynamic.ResourceInterface = dyn.Resource(k.GroupVersionResource())
			if k.Namespaced {
				c = dyn.Resource(k.GroupVersionResource()).Namespace(was.GetNamespace())
			}
			got, err := c.Get(t.Context(), was.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Error(err)
				continue
			}
			if got.GetUID() != was.GetUID() {
				t.Errorf("the sample of %s is another", k.Kind)
			}
		}
	}
	secret, err := kube.CoreV1().Secrets(metav1.NamespaceDefault).Get(t.Context(), sampleName, metav1.GetOptions{})
	if err != nil || string(secret.Data["golden"]) != goldenSecret {
		t.Errorf("secret %v: %v", secret, err)
	}
	w, err := dyn.Resource(widgets).Namespace(metav1.NamespaceDefault).Get(t.Context(), sampleName, metav1.GetOptions{})
	if err != nil {
		t.Error(err)
	} else if path := differs(plain(t, goldenWidget(t).Object["spec"]), plain(t, w.Object["spec"]), "spec"); path != "" {
		t.Errorf("not as the custom resource was: %s", path)
	}
	taken := goldenService()
	taken.Name = "taken"
	if _, err := kube.CoreV1().Services(metav1.NamespaceDefault).Create(t.Context(), taken, metav1.CreateOptions{}); err == nil {
		t.Error("a node port was given twice")
	}
}

const sampleName = "sample"

// goldenService holds claims that are known: an address and a node port.
func goldenService() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: sampleName}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "a"}, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}}}}
}

// goldenWidget is of a kind that a definition makes.
func goldenWidget(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	return widget(t, sampleName, "{color: red, replicas: 2}")
}

// writeGolden makes the data directory of this release: what a server stores of a sample of every kind, with all
// that its controllers make of them.
func writeGolden(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	g := runGolden(t, dir)
	func() {
		defer g.stop()
		createGolden(t, g.config)
	}()
	manifest := map[string][]map[string]any{}
	for resource, objects := range readStored(t, dir) {
		for _, o := range objects {
			manifest[resource] = append(manifest[resource], plain(t, o))
		}
	}
	complete(t, manifest)
	data, err := json.MarshalIndent(manifest, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifestFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(goldenDir, 0o755); err != nil {
		t.Fatal(err)
	}
	archive(t, dir, path)
}

func createGolden(t *testing.T, c *rest.Config) {
	t.Helper()
	dyn, kube := dynamic.NewForConfigOrDie(c), kubernetes.NewForConfigOrDie(c)
	special := map[string]runtime.Object{
		"secrets":  &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: sampleName}, Data: map[string][]byte{"golden": []byte(goldenSecret)}},
		"services": goldenService(),
	}
	for _, k := range kind.Builtin().Kinds() {
		o := &unstructured.Unstructured{}
		if obj := special[k.Plural]; obj != nil {
			o.Object = plain(t, obj)
		} else if err := yaml.Unmarshal([]byte(samples[k.Plural]), &o.Object); err != nil || o.Object == nil {
			t.Fatalf("there is no sample of kind %s: %v", k.Kind, err)
		}
		o.SetGroupVersionKind(k.GroupVersionKind)
		o.SetName(sampleOf(k, sampleName))
		o.SetAnnotations(map[string]string{"note": "ünïcode, \"quotes\" and\nlines"})
		var r dynamic.ResourceInterface = dyn.Resource(k.GroupVersionResource())
		if k.Namespaced {
			r = dyn.Resource(k.GroupVersionResource()).Namespace(metav1.NamespaceDefault)
		}
		if _, err := r.Create(t.Context(), o, metav1.CreateOptions{FieldManager: "golden"}); err != nil {
			t.Fatalf("cannot create the sample of kind %s: %v", k.Kind, err)
		}
	}
	define(t, dyn, widgetDefinition)
	if _, err := dyn.Resource(widgets).Namespace(metav1.NamespaceDefault).Create(t.Context(), goldenWidget(t), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node, err := kube.CoreV1().Nodes().Get(t.Context(), sampleName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "Sample"}}
	if _, err := kube.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func readManifest(t *testing.T, path string) map[string][]map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// notKept are files of a data directory that hold no state: preallocated space, locks and logs.
func notKept(path string) bool {
	return strings.HasSuffix(path, ".tmp") || slices.Contains([]string{"lock", "audit.log"}, path)
}

// archive packs a directory, in order and without times. Space that is preallocated at a file's end stays out: the
// file's size says how much of it there was.
func archive(t *testing.T, dir, path string) {
	t.Helper()
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, name)
		if err = cmp.Or(err, relErr); err != nil || d.IsDir() || notKept(rel) {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = tw.Write(data)
		return err
	})
	if err = cmp.Or(err, tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d KiB", path, buf.Len()>>10)
}

func extract(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		data, err := io.ReadAll(tr)
		if err = cmp.Or(err, os.MkdirAll(filepath.Dir(name), 0o700)); err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
