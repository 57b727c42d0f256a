package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-log/tflogtest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/fairlead-io/terraform-provider-fairlead/provider/kube"
)

// logged is what Terraform's log has.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
	// awaited are closed by the first entry with their text.
	awaited map[string]chan struct{}
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e struct {
		Message  string `json:"@message"`
		Progress string `json:"progress"`
	}
	if err := json.Unmarshal(p, &e); err != nil {
		return 0, err
	}
	if c, ok := l.awaited[e.Message+": "+e.Progress]; ok {
		close(c)
		delete(l.awaited, e.Message+": "+e.Progress)
	}
	return l.text.Write(p)
}

// progress are the log's entries of a deployment: message and how far it is.
func (l *logged) progress(t *testing.T) (entries []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	decoded, err := tflogtest.MultilineJSONDecode(bytes.NewReader(l.text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range decoded {
		if e["deployment"] != "default/web" || e["@level"] != "info" {
			t.Errorf("an entry is %v", e)
		}
		entries = append(entries, e["@message"].(string)+": "+e["progress"].(string))
	}
	return entries
}

// again does something until it has come to its end: an informer may begin to watch after it has listed, and misses what
// happens in between.
func again(t *testing.T, do func(), end <-chan struct{}, what func() string) {
	t.Helper()
	late := time.After(20 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		do()
		select {
		case <-end:
			return
		case <-tick.C:
		case <-late:
			t.Fatalf("no end after 20 s: %s", what())
		}
	}
}

// TestProgressIsLogged wants each step of a rollout in Terraform's log as soon as it is there, once.
func TestProgressIsLogged(t *testing.T) {
	const updated, available = "rollout goes on: 1 of 2 replicas are updated", "rollout goes on: 1 of 2 replicas are available"
	isUpdated, isAvailable := make(chan struct{}), make(chan struct{})
	log := &logged{awaited: map[string]chan struct{}{updated: isUpdated, available: isAvailable}}
	ctx := tflogtest.RootLogger(context.Background(), log)
	clients := fake.NewClientset(deployment(1, 0, 3), set("2"))
	ended := make(chan struct{}) // closed when err is set
	var err error
	go func() {
		defer close(ended)
		err = Deployment(ctx, &kube.Client{Typed: clients}, applied(t, deployment(1, 0, 3)))
	}()
	for _, step := range []struct {
		status [3]int32
		end    <-chan struct{}
	}{{[3]int32{1, 0, 3}, isUpdated}, {[3]int32{2, 1, 2}, isAvailable}, {[3]int32{2, 2, 2}, ended}} {
		is := deployment(step.status[0], step.status[1], step.status[2])
		again(t, func() {
			if _, err := clients.AppsV1().Deployments("default").UpdateStatus(t.Context(), is, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}, step.end, func() string { return fmt.Sprint(log.progress(t)) })
	}
	if err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(log.progress(t), func(e string) bool { return e == "rollout goes on: the objects are being listed" })
	if want := []string{updated, available, "rollout has ended: all 2 replicas are available"}; !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}
