package pod_test

import (
	"fmt"
	"testing"
)

// TestManyAtOnce has pods come and go that all need the runtime at the same time.
func TestManyAtOnce(t *testing.T) {
	g := newRig(t)
	g.start()
	const pods = 30
	for i := range pods {
		g.create(newPod(fmt.Sprint("p-", i), idle))
	}
	for i := range pods {
		g.await(fmt.Sprint("p-", i), "ready", isReady)
	}
	for i := range pods {
		g.remove(fmt.Sprint("p-", i), 5)
	}
	for i := range pods {
		g.awaitGone(fmt.Sprint("p-", i))
	}
}
