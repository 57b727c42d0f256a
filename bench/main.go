// Command bench measures a server, and on request a node, and prints a table of figures: the one in the README.
//
//	go run ./bench -binary ./fairlead            start, memory, writes, lists, watches, scheduling
//	go run ./bench -binary ./fairlead -node      also pods and services; needs root and containerd
//	go run ./bench -binary ./fairlead -scale     also a server of its own that holds 100,000 objects
//
// It starts its own processes in a temporary directory and ends them. Figures depend on the machine: compare
// those of one machine only, and let it be quiet meanwhile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

type options struct {
	binary   string
	node     bool
	image    string
	idle     time.Duration
	writers  int
	objects  int
	watchers int
	nodes    int
	pods     int
	replicas int
	services int
	burst    int
	// scale adds the figures of a server that holds many objects.
	scale       bool
	stored      int
	idleWatches int
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "./fairlead", "the program to measure")
	flag.BoolVar(&o.node, "node", false, "measure pods and services on this host too")
	flag.StringVar(&o.image, "image", "", "OCI archive with /bin/busybox in it, for -node; made of /bin/busybox by default")
	flag.DurationVar(&o.idle, "idle", time.Minute, "wait this long before memory is read")
	flag.IntVar(&o.writers, "writers", 32, "concurrent writers")
	flag.IntVar(&o.objects, "objects", 3000, "objects to create and list")
	flag.IntVar(&o.watchers, "watchers", 100, "concurrent watches")
	flag.IntVar(&o.nodes, "nodes", 200, "simulated nodes to schedule on")
	flag.IntVar(&o.pods, "pods", 2000, "pods to schedule")
	flag.IntVar(&o.replicas, "replicas", 1000, "replicas of the deployment")
	flag.IntVar(&o.services, "services", 2000, "services that stand when new ones are measured")
	flag.IntVar(&o.burst, "burst", 30, "pods started at once")
	flag.BoolVar(&o.scale, "scale", false, "measure a server with many objects too")
	flag.IntVar(&o.stored, "stored", 100_000, "objects that -scale stores")
	flag.IntVar(&o.idleWatches, "idle-watches", 1000, "watches that are open while nothing happens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if err := measure(ctx, o); err != nil || !o.scale {
		return err
	}
	return measureScale(ctx, o)
}

func measure(ctx context.Context, o *options) (err error) {
	row("figure", "Kubernetes", "Fairlead")
	row("---", "---", "---")
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	row("start to /readyz", kubernetesReady, "%d ms", s.readyAfter.Milliseconds())
	if err := sleep(ctx, o.idle); err != nil {
		return err
	}
	row("server memory, idle for "+o.idle.String(), kubernetesIdle, "%d MB", s.rss()/1000)
	steps := []func(context.Context, *server, *options) error{measureCreate, measureList, measureWatch, measureSchedule, measureDeploy}
	for _, step := range steps {
		if err := step(ctx, s, o); err != nil {
			return err
		}
	}
	row("server memory after that", kubernetesLoaded, "%d MB", s.rss()/1000)
	if err := measureIdleWatches(ctx, s, o); err != nil {
		return err
	}
	if !o.node {
		return nil
	}
	return measureNode(ctx, s, o)
}

// row prints one figure beside what Kubernetes has for it, see kubernetes.go; empty when that was not measured.
func row(name, kubernetes, format string, values ...any) {
	fmt.Printf("| %-52s | %-22s | %-22s |\n", name, fmt.Sprintf(format, values...), kubernetes)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// latencies are those of one operation; quantile sorts them.
type latencies []time.Duration

func (l latencies) quantile(q float64) time.Duration {
	slices.Sort(l)
	return l[int(float64(len(l)-1)*q)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
