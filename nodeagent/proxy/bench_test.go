package proxy

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/network/netlab"
)

// New service to first answer, with 2,000 services of three endpoints standing.
func BenchmarkNewService(b *testing.B) {
	c := newCluster(b)
	const standing = 2000
	for i := range standing {
		name := fmt.Sprintf("standing%d", i)
		c.proxy.SetService(service(name, fmt.Sprintf("10.96.%d.%d", 1+i/250, 1+i%250), nodePort(int32(28000+i))))
		c.proxy.SetEndpointSlice(slice(name, epA, epB, epC))
	}
	begin := time.Now()
	c.sync()
	first := time.Since(begin)
	i := 0
	for b.Loop() {
		name := fmt.Sprintf("new%d", i)
		address := fmt.Sprintf("10.96.%d.%d", 100+i/250, 1+i%250)
		i++
		c.proxy.SetService(service(name, address))
		c.proxy.SetEndpointSlice(slice(name, epB))
		for {
			if _, _, err := c.a.Ask("tcp", address+":80"); err == nil {
				break
			}
		}
	}
	b.ReportMetric(float64(first.Milliseconds()), "ms/first-sync")
}

// The transaction alone.
func BenchmarkCommit(b *testing.B) {
	host := netlab.Namespace(b)
	s := newState(topology{nodeName: "one"})
	var k *kernel
	host.Do(func() (err error) {
		k, err = openKernel(newLayout((&cluster{t: b}).config()))
		return err
	})
	defer k.close()
	add := func(i int) change {
		name := fmt.Sprintf("s%d", i)
		s.setService(types.NamespacedName{Namespace: "default", Name: name}, service(name, fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250)))
		e := slice(name, epA, epB, epC)
		s.setSlice(types.NamespacedName{Namespace: "default", Name: e.Name}, e)
		for f, c := range s.refresh().frontends {
			s.ledger.set(f, c)
		}
		return s.ledger.pending()
	}
	const standing = 2000
	for i := range standing - 1 {
		add(i)
	}
	all := add(standing - 1)
	begin := time.Now()
	if err := k.replace(all); err != nil {
		b.Fatal(err)
	}
	whole := time.Since(begin)
	s.ledger.committed(all)
	for i := standing; b.Loop(); i++ {
		c := add(i % 60000)
		if err := k.commit(c); err != nil {
			b.Fatal(err)
		}
		s.ledger.committed(c)
	}
	b.ReportMetric(float64(whole.Milliseconds()), "ms/replace")
}
