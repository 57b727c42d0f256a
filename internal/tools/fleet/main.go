// Command fleet boots machines as the acceptance tests use them and keeps them until it is interrupted, to try
// things on by hand.
//
//	fleet -n 3
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

func main() {
	n := flag.Int("n", 3, "how many machines")
	prefix := flag.String("prefix", "fl", "beginning of their names, name of their folder, and with 0 behind it the bridge's")
	network := flag.String("network", "10.78.0.0/24", "their IPv4 range")
	flag.Parse()
	if err := run(*n, *prefix, *network); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(n int, prefix, network string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return err
	}
	f, err := machine.NewFleet(ctx, prefix, p)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	fmt.Printf("key %s\n", f.KeyFile)
	for i := range n {
		m, err := f.Start(ctx, fmt.Sprintf("%s-%d", prefix, i+1))
		if err != nil {
			return err
		}
		fmt.Printf("machine %s %s %q\n", m.Name, m.Address, m.HostKey)
	}
	<-ctx.Done()
	return nil
}
