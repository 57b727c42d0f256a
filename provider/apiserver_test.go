package provider

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/etcd"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/registry"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/store"
)

var (
	testPods     = netip.MustParsePrefix("10.244.0.0/16")
	testServices = netip.MustParsePrefix("10.96.0.0/16")
)

// startAPI runs etcd, the API server and the controllers until the test ends, and a stand-in for nodes that gives pods
// their status. It returns how to reach the server.
func startAPI(t *testing.T) *rest.Config {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	member, err := etcd.Start(t.Context(), etcd.Config{DataDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	objects := store.New(member.Client, kind.Builtin().Kinds(), store.Options{Log: log})
	background(t, "store", objects.Run)
	select {
	case <-objects.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the store is not ready after 20 s")
	}

	var inProcess client.Client
	plugins, err := admission.Default(func() client.Client { return inProcess }, admission.Options{ServiceCIDR: testServices, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(registry.Config{Store: objects, Kinds: kind.Builtin(), Admission: plugins, Logger: log})
	inProcess = registry.NewClient(reg, "test")
	server, err := api.New(api.Config{Registry: reg, AllowAll: true, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server.Handler())
	t.Cleanup(listener.Close)
	background(t, "controllers", func(ctx context.Context) error {
		return controller.Run(ctx, controller.Config{
			Client: inProcess, ClusterCIDR: testPods, ServiceCIDR: testServices, CA: []byte("none"), Logger: log,
			APIServerAddresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:6443")},
		})
	})
	config := &rest.Config{Host: listener.URL, QPS: -1}
	clients := kubernetes.NewForConfigOrDie(config)
	background(t, "nodes", func(ctx context.Context) error { return runNodes(ctx, clients) })
	return config
}

// background runs a part until the test ends, and fails the test when the part fails.
func background(t *testing.T, name string, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
}
