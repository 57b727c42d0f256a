package api

import (
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func TestLimitsLeaveRoomForOthers(t *testing.T) {
	l := newLimits(10, 10)
	get := func(user string, groups ...string) *request {
		return &request{Request: httptest.NewRequest("GET", "/api/v1/pods", nil), resource: true, verb: "list", user: &kind.User{Name: user, Groups: groups}}
	}
	var releases []func()
	enter := func(r *request) error {
		release, err := l.enter(r)
		if err == nil {
			releases = append(releases, release)
		}
		return err
	}
	n := 0
	for enter(get("noisy")) == nil {
		if n++; n > 10 {
			t.Fatal("one user takes all places")
		}
	}
	if err := enter(get("noisy")); !apierrors.IsTooManyRequests(err) {
		t.Fatalf("error %v", err)
	} else if s, ok := apierrors.SuggestsClientDelay(err); !ok || s != 1 {
		t.Fatalf("delay %d", s)
	}
	if err := enter(get("quiet")); err != nil {
		t.Fatalf("another user: %v", err)
	}
	if err := enter(get("root", groupMasters)); err != nil {
		t.Fatalf("administrator: %v", err)
	}
	watch := get("noisy")
	watch.verb = "watch"
	if err := enter(watch); err != nil {
		t.Fatalf("watch: %v", err)
	}
	for _, release := range releases {
		release()
	}
	if l.reads.now != 0 || len(l.reads.users) != 0 {
		t.Fatalf("%d places are taken by %v after all is over", l.reads.now, l.reads.users)
	}
}
