package nodeagent

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network"
)

// routesEvery is how soon routes that could not be set are tried again.
const routesEvery = 5 * time.Second

// watches follow what every node needs to know of the cluster: services, their endpoints, and the other nodes.
type watches struct {
	agent       *agent
	factory     informers.SharedInformerFactory
	serviceInf  cache.SharedIndexInformer
	sliceInf    cache.SharedIndexInformer
	nodeInf     cache.SharedIndexInformer
	events      *events
	nodeChanged chan struct{} // capacity 1: routes are to be compared, many wishes are one
}

func newWatches(a *agent) *watches {
	// What managed which field is of no use here, and a large part of an object.
	f := informers.NewSharedInformerFactoryWithOptions(a.client, 0, informers.WithTransform(stripManagedFields))
	return &watches{
		agent: a, factory: f, nodeChanged: make(chan struct{}, 1),
		serviceInf: f.Core().V1().Services().Informer(), sliceInf: f.Discovery().V1().EndpointSlices().Informer(), nodeInf: f.Core().V1().Nodes().Informer(),
	}
}

func stripManagedFields(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

func (w *watches) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if err := w.handle(); err != nil {
		return err
	}
	g.Go(func() error { return w.routes(ctx) })
	g.Go(func() error { return w.events.run(ctx) })
	g.Go(func() error {
		w.factory.StartWithContext(ctx)
		if cache.WaitForCacheSync(ctx.Done(), w.serviceInf.HasSynced, w.sliceInf.HasSynced, w.nodeInf.HasSynced) {
			w.agent.proxy.SetSynced()
			w.agent.dns.SetSynced()
			select {
			case <-w.agent.proxy.Synced():
				w.agent.node.Kick()
			case <-ctx.Done():
			}
		}
		<-ctx.Done()
		w.factory.Shutdown()
		return nil
	})
	return g.Wait()
}

// handle passes changes on before a cache counts as synced: handlers run in the informers' own order.
func (w *watches) handle() error {
	_, err := w.serviceInf.AddEventHandler(handler(func(s *corev1.Service) {
		w.agent.proxy.SetService(s)
		w.agent.dns.SetService(s)
	}, func(n types.NamespacedName) {
		w.agent.proxy.DeleteService(n)
		w.agent.dns.DeleteService(n)
	}))
	if err != nil {
		return err
	}
	_, err = w.sliceInf.AddEventHandler(handler(func(s *discoveryv1.EndpointSlice) {
		w.agent.proxy.SetEndpointSlice(s)
		w.agent.dns.SetEndpointSlice(s)
	}, func(n types.NamespacedName) {
		w.agent.proxy.DeleteEndpointSlice(n)
		w.agent.dns.DeleteEndpointSlice(n)
	}))
	if err != nil {
		return err
	}
	_, err = w.nodeInf.AddEventHandler(handler(func(*corev1.Node) { w.kickRoutes() }, func(types.NamespacedName) { w.kickRoutes() }))
	return err
}

func handler[T any](set func(T), remove func(types.NamespacedName)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { set(o.(T)) },
		UpdateFunc: func(_, o any) { set(o.(T)) },
		DeleteFunc: func(o any) {
			if name, err := cache.DeletionHandlingObjectToName(o); err == nil {
				remove(types.NamespacedName{Namespace: name.Namespace, Name: name.Name})
			}
		},
	}
}

func (w *watches) kickRoutes() {
	select {
	case w.nodeChanged <- struct{}{}:
	default:
	}
}

// routes keeps the other nodes' pods reachable.
func (w *watches) routes(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if w.nodeInf.HasSynced() {
			if err := w.agent.network.SetNodes(ctx, w.nodeRoutes()); err != nil && ctx.Err() == nil {
				w.agent.log.Warn("cannot set routes to nodes; trying again", "err", err)
				retry = time.After(routesEvery)
			}
		} else {
			retry = time.After(100 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.nodeChanged:
		case <-retry:
		}
	}
}

func (w *watches) nodeRoutes() []network.NodeRoute {
	var out []network.NodeRoute
	for _, o := range w.nodeInf.GetStore().List() {
		n := o.(*corev1.Node)
		r := network.NodeRoute{Name: n.Name}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				r.Address, _ = netip.ParseAddr(a.Address)
			}
		}
		r.PodCIDR, _ = netip.ParsePrefix(n.Spec.PodCIDR)
		if r.Address.IsValid() && r.PodCIDR.IsValid() {
			out = append(out, r)
		}
	}
	return out
}

// services are those of a namespace, for the variables that name them in its pods.
func (w *watches) services(namespace string) []*corev1.Service {
	objs, err := w.serviceInf.GetIndexer().ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return nil
	}
	out := make([]*corev1.Service, len(objs))
	for i, o := range objs {
		out[i] = o.(*corev1.Service)
	}
	return out
}

// node is this host's Node, or nil while it is not known.
func (w *watches) node() *corev1.Node {
	o, ok, err := w.nodeInf.GetStore().GetByKey(w.agent.cfg.NodeName)
	if err != nil || !ok {
		return nil
	}
	return o.(*corev1.Node)
}

// allocatable is what this host offers to pods, or nil while that is not known.
func (w *watches) allocatable() corev1.ResourceList {
	if n := w.node(); n != nil {
		return n.Status.Allocatable
	}
	return nil
}
