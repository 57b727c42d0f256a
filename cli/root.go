// Package cli is the `fairlead` command line: what runs on hosts, and what people type.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/residency"
)

// Main runs the command line and returns the exit status: 0, 1 for a failure, 2 for a wrong call.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "fairlead: %v\n", err)
		return 2
	default:
		fmt.Fprintf(os.Stderr, "fairlead: %v\n", err)
		return 1
	}
}

// usageError is a call that can not be right, whatever the state of the host.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "Lead container workloads onto machines that you own",
		Long: "fairlead runs a Kubernetes-compatible cluster on your own machines. Without arguments it is a Terraform provider,\n" +
			"started by Terraform; the commands below run on the hosts that it installs.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see '%s --help'", err, c.CommandPath())}
	})
	root.AddCommand(serverCommand(), agentCommand(), tokenCommand(), credentialCommand(), encryptionCommand(), cleanupCommand(), superviseCommand(), versionCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// gcPercent trades a little of the processor for memory: server and agent keep caches whose live part changes
// slowly, so that a heap of twice its size would be mostly air. GOGC overrides it.
const gcPercent = 33

// settleAfter is when a process has done what it does once: its caches are filled and its connections open.
const settleAfter = 20 * time.Second

// serverHeadroom is what a server may allocate between two collections however small its heap is: each request
// leaves garbage, and with a heap of a few megabytes collecting it would be a good part of the work.
const serverHeadroom = 32 << 20

// tuneMemory is for processes that stay. It returns when ctx ends.
func tuneMemory(ctx context.Context, log *slog.Logger, headroom uint64) {
	if os.Getenv("GOGC") == "" {
		defer residency.Headroom(gcPercent, headroom)()
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(settleAfter):
	}
	debug.FreeOSMemory()
	if err := residency.Release(); err != nil {
		log.Warn("cannot release memory of the start", "err", err)
	}
	<-ctx.Done()
}

// newLogger logs to w at a level as configurations name it; libraries that use klog log through it too.
func newLogger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, &usageError{fmt.Errorf("logLevel: %q is none of debug, info, warn and error", level)}
		}
	}
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}))
	slog.SetDefault(log)
	klog.SetSlogLogger(log.With("component", "library"))
	return log, nil
}
