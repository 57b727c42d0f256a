package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func reader(user string, groups ...string) *request {
	return &request{Request: httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil), resource: true, verb: "list", user: &kind.User{Name: user, Groups: groups}}
}

func TestLimitsLetTheClusterThrough(t *testing.T) {
	l := newLimits(2, 2)
	for range 2 {
		if _, err := l.enter(reader("noisy")); err != nil {
			t.Fatal(err)
		}
	}
	write, watch, logs := reader("noisy"), reader("noisy"), reader("noisy")
	write.Method, watch.verb, logs.subresource = "POST", "watch", "log"
	for name, r := range map[string]*request{
		"node": reader("system:node:a", "system:nodes"), "administrator": reader("root", groupMasters), "watch": watch, "write": write, "log": logs,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it must not wait
		r.Request = r.WithContext(ctx)
		if _, err := l.enter(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := reader("system:serviceaccount:kube-system:x", "system:serviceaccounts:kube-system")
	if got := levelOf(a); got != system {
		t.Errorf("an account of kube-system is of level %s", levelNames[got])
	}
}

// TestSeatsGoToWhoHasFewest has two users wait behind one that has all the seats.
func TestSeatsGoToWhoHasFewest(t *testing.T) {
	p := newPool(2)
	enter := func(user string) chan *seat {
		got := make(chan *seat, 1) // one result
		_, before, _ := p.figures()
		go func() {
			given, err := p.enter(t.Context(), user)
			if err != nil {
				t.Errorf("%s: %v", user, err)
			}
			got <- given
		}()
		if taken, _, _ := p.figures(); taken == 2 {
			for { // until it waits
				if _, waiting, _ := p.figures(); waiting > before {
					break
				}
			}
		}
		return got
	}
	first, second := <-enter("noisy"), <-enter("noisy")
	third, fourth := enter("noisy"), enter("noisy")
	quiet, other := enter("quiet"), enter("other")
	first.leave()
	(<-quiet).leave() // before those that came earlier
	(<-other).leave()
	(<-third).leave()
	second.standUp() // its answer is not taken
	(<-fourth).leave()
	second.leave()
	if taken, waiting, _ := p.figures(); taken != 0 || waiting != 0 || len(p.flows) != 0 || len(p.order) != 0 {
		t.Errorf("%d taken, %d wait, %d users after all is over", taken, waiting, len(p.flows))
	}
}

func TestWaitingIsBounded(t *testing.T) {
	p := newPool(1)
	held, err := p.enter(t.Context(), "noisy")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ends := make(chan error, maxWaiting) // one for each
	for range maxWaiting {
		go func() {
			_, err := p.enter(ctx, "noisy")
			ends <- err
		}()
	}
	for {
		if _, waiting, _ := p.figures(); waiting == maxWaiting {
			break
		}
	}
	_, err = p.enter(t.Context(), "noisy")
	if s, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !ok || s != retrySeconds {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for range maxWaiting {
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that went away: %v", err)
		}
	}
	held.leave()
	if taken, waiting, rejected := p.figures(); taken != 0 || waiting != 0 || rejected != 1 || len(p.flows) != 0 {
		t.Errorf("%d taken, %d wait, %d refused", taken, waiting, rejected)
	}
}

// TestUnreadAnswersAreBounded has a user not take as many answers as may be under way: the next request is refused, until one is taken.
func TestUnreadAnswersAreBounded(t *testing.T) {
	p := newPool(1)
	var last *seat
	for range maxUnread {
		given, err := p.enter(t.Context(), "noisy")
		if err != nil {
			t.Fatal(err)
		}
		given.standUp()
		last = given
	}
	if _, err := p.enter(t.Context(), "noisy"); !apierrors.IsTooManyRequests(err) {
		t.Errorf("one too many: %v", err)
	}
	other, err := p.enter(t.Context(), "quiet")
	if err != nil {
		t.Fatal(err)
	}
	other.leave()
	last.leave()
	if _, err := p.enter(t.Context(), "noisy"); err != nil {
		t.Errorf("after one was taken: %v", err)
	}
}
