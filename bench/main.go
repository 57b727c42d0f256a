// Command bench measures a server, and on request a node, and prints a table of figures: the one in the README.
//
//	go run ./bench -binary ./fairlead            start, memory, writes, lists, watches, scheduling
//	go run ./bench -binary ./fairlead -node      also pods and services; needs root and containerd
//	go run ./bench -binary ./fairlead -scale     also a server of its own that holds 100,000 objects
//	go run ./bench -binary ./fairlead -against admin.kubeconfig -processes 12,34
//	                                             a server of ours and another one that runs already, in turn, and the ratios
//
// Lists and watches are also taken from a process that has the answers in memory, which is the least that a client needs
// on the machine.
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
	"strconv"
	"strings"
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
	// against is the kubeconfig of another server to compare with, processes are those that it consists of.
	against   string
	processes []int
	rounds    int
	settle    time.Duration
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
	flag.StringVar(&o.against, "against", "", "kubeconfig of another server, which runs already, to measure in turn with ours")
	flag.Func("processes", "comma-separated process ids that the other server consists of, for its memory", func(list string) error {
		for _, text := range strings.Split(list, ",") {
			pid, err := strconv.Atoi(text)
			if err != nil || pid <= 0 {
				return fmt.Errorf("%q is no process id", text)
			}
			o.processes = append(o.processes, pid)
		}
		return nil
	})
	flag.IntVar(&o.rounds, "rounds", 5, "with -against: measure both so often, and print medians")
	// A server of ours gives back what its start needed after 20 seconds, and collects garbage for it.
	flag.DurationVar(&o.settle, "settle", 30*time.Second, "with -against: wait this long before each round")
	flag.Parse()
	if flag.Arg(0) == floorCommand {
		exit(serveFloor(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, &o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, o *options) error {
	if o.rounds < 1 {
		return fmt.Errorf("-rounds is %d: at least one is needed", o.rounds)
	}
	if o.against != "" {
		return compare(ctx, o)
	}
	heading("figure", "Fairlead", "Kubernetes", "to reach")
	if err := measure(ctx, o); err != nil || !o.scale {
		return err
	}
	return measureScale(ctx, o)
}

// steps are what is measured of any server, in this order: a later one reads what an earlier one wrote.
var steps = []func(context.Context, *target, *options) ([]figure, error){measureCreate, measureList, measureWatch, measureSchedule, measureDeploy}

func measure(ctx context.Context, o *options) (err error) {
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	printAlone(figure{"start to /readyz", milliseconds, []float64{millis(s.readyAfter)}, kubernetesReady, "<= 1 s"})
	if err := sleep(ctx, o.idle); err != nil {
		return err
	}
	printAlone(figure{"server memory, idle for " + o.idle.String(), megabytes, []float64{s.rss()}, kubernetesIdle, "<= 100 MB"})
	found, least, err := measureRound(ctx, s.target, o, true)
	if err != nil {
		return err
	}
	printAlone(found...)
	for i := range least {
		least[i].name += ", from memory without a server"
	}
	printAlone(least...)
	if found, err = measureIdleWatches(ctx, s.target, o); err != nil {
		return err
	}
	printAlone(found...)
	if !o.node {
		return nil
	}
	return measureNode(ctx, s, o)
}

// measureRound takes all steps once, in a namespace of their own, and at its end measureFloor if that is wanted.
func measureRound(ctx context.Context, t *target, o *options, wantFloor bool) (figures, least []figure, err error) {
	leave, err := t.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, leave()) }()
	for _, step := range steps {
		found, err := step(ctx, t, o)
		if err != nil {
			return nil, nil, err
		}
		figures = append(figures, found...)
	}
	if len(t.processes) > 0 {
		figures = append(figures, figure{"server memory after that", megabytes, []float64{t.rss()}, kubernetesLoaded, "<= 260 MB"})
	}
	if wantFloor {
		if least, err = measureFloor(ctx, t, o); err != nil {
			return nil, nil, err
		}
	}
	return figures, least, nil
}

// compare measures a server that runs already and fresh ones of ours in turn, and prints both with the ratio of ours to the
// other, and that of what no server comes below. Ours do not run while the other is measured; the other idles while ours are.
func compare(ctx context.Context, o *options) error {
	other, err := connect(o.against, o.processes)
	if err != nil {
		return err
	}
	var ours, theirs, floors rounds
	for i := range o.rounds {
		if err := sleep(ctx, o.settle); err != nil {
			return err
		}
		found, _, err := measureRound(ctx, other, o, false)
		if err != nil {
			return fmt.Errorf("cannot measure %s: %w", other.config.Host, err)
		}
		theirs = append(theirs, found)
		found, least, err := measureFresh(ctx, o)
		if err != nil {
			return err
		}
		ours, floors = append(ours, found), append(floors, least)
		fmt.Fprintf(os.Stderr, "round %d of %d is measured\n", i+1, o.rounds)
	}
	heading("figure", "Fairlead", "the other", "ratio", "in the rounds", "to reach")
	printBeside(ours, theirs)
	fmt.Println()
	heading("the same from memory, without a server", "any server's least", "the other", "ratio", "in the rounds", "to reach")
	printBeside(floors, theirs)
	return nil
}

// measureFresh takes all steps of a server that is started for them.
func measureFresh(ctx context.Context, o *options) (_, least []figure, err error) {
	s, err := startServer(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if len(o.processes) == 0 {
		s.processes = nil // what has nothing to be compared with
	}
	if err := sleep(ctx, o.settle); err != nil {
		return nil, nil, err
	}
	return measureRound(ctx, s.target, o, true)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
