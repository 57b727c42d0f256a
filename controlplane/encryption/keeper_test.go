package encryption_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/encryption"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

// server is etcd with a store and a keeper, that can be started anew on the same data.
type server struct {
	keeper *encryption.Keeper
	client client.Client
	stop   func()
}

func start(t *testing.T, m *etcd.Member, file string, keep bool) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	keys, err := encryption.Open(file, "secrets")
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(m.Client, kind.Builtin().Kinds(), store.Options{Transform: keys, Log: log})
	s := &server{
		keeper: encryption.NewKeeper(keys, m.Client, map[string]string{"secrets": st.KeysOf(corev1.Resource("secrets"))}, log),
		client: registry.NewClient(registry.New(registry.Config{Store: st, Kinds: kind.Builtin(), Logger: log}), "test"),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = st.Run(ctx) })
	if keep {
		wait.Go(func() { _ = s.keeper.Run(ctx) })
	}
	s.stop = sync.OnceFunc(func() { cancel(); wait.Wait() })
	t.Cleanup(s.stop)
	<-st.Ready()
	return s
}

func (s *server) ask(t *testing.T, method, path string) *encryption.Status {
	t.Helper()
	w := httptest.NewRecorder()
	s.keeper.Paths()[path].ServeHTTP(w, httptest.NewRequest(method, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	status := &encryption.Status{}
	if err := json.Unmarshal(w.Body.Bytes(), status); err != nil {
		t.Fatal(err)
	}
	return status
}

// settle waits until nothing is stale.
func (s *server) settle(t *testing.T, want int) *encryption.Status {
	t.Helper()
	for {
		status := s.ask(t, http.MethodGet, encryption.StatusPath)
		if status.Stale() == 0 {
			if n := status.Keys[0].Values; n != want {
				t.Fatalf("%d values are under the primary key, want %d", n, want)
			}
			return status
		}
		if t.Context().Err() != nil {
			t.Fatal("values stay stale")
		}
	}
}

// TestRotation rotates while secrets are written and updated, and again with a server that dies before it has
// written anything anew.
func TestRotation(t *testing.T) {
	m, err := etcd.Start(context.Background(), etcd.Config{DataDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	file := filepath.Join(t.TempDir(), "encryption.json")
	s := start(t, m, file, true)
	const secrets = 250 // more than two pages
	name := func(i int) string { return fmt.Sprint("s", i) }
	create := func(i int) {
		t.Helper()
		_, err := client.Create(t.Context(), s.client, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name(i)}, Data: map[string][]byte{"k": []byte(name(i))}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range secrets {
		create(i)
	}
	first := s.ask(t, http.MethodGet, encryption.StatusPath)
	if len(first.Keys) != 1 || first.Keys[0].Values != secrets || first.Clear != 0 {
		t.Fatalf("at first: %+v", first)
	}
	if after := s.ask(t, http.MethodPost, encryption.RotatePath); len(after.Keys) != 2 || after.Keys[0].ID == first.Keys[0].ID || after.Keys[1].Retired == nil {
		t.Fatalf("after rotation: %+v", after)
	}
	for i := range 20 {
		create(secrets + i)
	}
	s.settle(t, secrets+20)
	// the old key has only just been retired: it stays
	if got := s.ask(t, http.MethodPost, encryption.PrunePath); len(got.Keys) != 2 {
		t.Errorf("after prune: %+v", got)
	}
	s.stop()

	s = start(t, m, file, false) // it rotates and dies
	if got := s.ask(t, http.MethodPost, encryption.RotatePath); len(got.Keys) != 3 || got.Stale() != secrets+20 {
		t.Fatalf("a server that does not write anew: %+v", got)
	}
	s.stop()

	s = start(t, m, file, true)
	s.settle(t, secrets+20)
	s.keeper.SetNow(func() time.Time { return time.Now().Add(time.Hour) })
	if got := s.ask(t, http.MethodPost, encryption.PrunePath); len(got.Keys) != 1 || !got.Keys[0].Primary {
		t.Errorf("after a later prune: %+v", got)
	}
	s.stop()

	s = start(t, m, file, true)
	for i := range secrets + 20 {
		got, err := client.Get[*corev1.Secret](t.Context(), s.client, "default", name(i))
		if err != nil || !bytes.Equal(got.Data["k"], []byte(name(i))) {
			t.Fatalf("secret %d: %v, %v", i, got, err)
		}
	}
}
