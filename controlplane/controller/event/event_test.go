package event

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "u"}}
}

// written returns what r writes of all that was recorded before.
func written(t *testing.T, r *Recorder, c client.Client) []*corev1.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Run writes what waits before it returns
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	list, err := client.List[*corev1.Event](t.Context(), c, client.Query{Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSameEventIsCounted(t *testing.T) {
	c := clienttest.NewFake()
	r := New(c, "tester", nil)
	at := time.Unix(1700000000, 0)
	r.queue.now = func() time.Time { at = at.Add(time.Second); return at }
	for range 3 {
		r.Warning(testPod("p"), "Failed", "cannot %s", "start")
	}
	r.For("other").Normal(testPod("p"), "Failed", "cannot start")
	list := written(t, r, c)
	if len(list) != 2 {
		t.Fatalf("%d events", len(list))
	}
	for _, e := range list {
		want := int32(3)
		if e.Source.Component == "other" {
			want = 1
		}
		if e.Count != want || e.InvolvedObject.Kind != "Pod" || e.InvolvedObject.APIVersion != "v1" || e.Message != "cannot start" {
			t.Errorf("event is %+v", e)
		}
		if want == 3 && e.LastTimestamp.Sub(e.FirstTimestamp.Time) != 2*time.Second {
			t.Errorf("from %s to %s", e.FirstTimestamp, e.LastTimestamp)
		}
	}
}

func TestOneObjectCanNotFlood(t *testing.T) {
	c := clienttest.NewFake()
	r := New(c, "tester", nil)
	at := time.Unix(1700000000, 0)
	r.queue.now = func() time.Time { return at }
	for i := range 100 {
		at = at.Add(time.Nanosecond)
		r.Normal(testPod("p"), "Created", "pod %d", i)
	}
	at = at.Add(refill)
	r.Normal(testPod("p"), "Created", "one more")
	if list := written(t, r, c); len(list) != burst+1 {
		t.Errorf("%d events", len(list))
	}
}

func TestNilRecorderDropsEverything(t *testing.T) {
	var r *Recorder
	r.For("x").Normal(testPod("p"), "Reason", "message")
}

func TestRecordingNeverBlocks(t *testing.T) {
	r := New(clienttest.NewFake(), "tester", nil)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range waiting {
				p := testPod("p")
				p.UID = types.UID(fmt.Sprint(i, "-", j))
				r.Normal(p, "Reason", "message %d %d", i, j)
			}
		})
	}
	wg.Wait()
}
