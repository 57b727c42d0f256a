// Command stub stands in for the fairlead binary in tests of bootstrap on real machines: it has the commands that
// bootstrap runs on hosts, with real certificates, processes, links and rules, and no cluster behind them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/supervise"
)

// version is set when it is linked; "broken" makes services that end at once.
var version = "v0"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("no command")
	}
	commands := map[string]func(context.Context, []string) error{
		"version": printVersion, "server": server, "agent": agent, "credential": sign, "token": token,
		"cleanup": cleanup, "supervise": runSupervise,
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("unknown command %q", args[0])
	}
	return command(ctx, args[1:])
}

func printVersion(context.Context, []string) error {
	return json.NewEncoder(os.Stdout).Encode(map[string]string{"version": version})
}

func runSupervise(ctx context.Context, args []string) error {
	var c supervise.Config
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	flags.StringVar(&c.Name, "name", "", "")
	flags.BoolVar(&c.Once, "once", false, "")
	flags.StringVar(&c.PIDFile, "pid-file", "", "")
	flags.StringVar(&c.LogFile, "log-file", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c.Command = flags.Args()
	return supervise.Run(ctx, c)
}

// sign is `credential sign --user U --group G --ttl D`.
func sign(_ context.Context, args []string) error {
	var user, group string
	var ttl time.Duration
	flags := flag.NewFlagSet("sign", flag.ContinueOnError)
	flags.StringVar(&user, "user", "", "")
	flags.StringVar(&group, "group", "", "")
	flags.DurationVar(&ttl, "ttl", 0, "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	cfg, err := readServer()
	if err != nil {
		return err
	}
	keys, err := pki.OpenCluster(keyDir(cfg), cfg.ClusterName)
	if err != nil {
		return err
	}
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	cert, err := keys.Authority.SignRequest(request, pki.Subject{CommonName: user, Organizations: []string{group}, Client: true, Life: ttl})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"ca": string(keys.Authority.PEM()), "certificate": string(cert),
		"server": "https://" + cfg.Advertise + cfg.Listen, "expires": time.Now().Add(ttl).Format(time.RFC3339),
	})
}

// token is `token create --node N --ttl D`; tokens are files that the server looks for.
func token(_ context.Context, args []string) error {
	var node string
	var ttl time.Duration
	flags := flag.NewFlagSet("create", flag.ContinueOnError)
	flags.StringVar(&node, "node", "", "")
	flags.DurationVar(&ttl, "ttl", 0, "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	t := fmt.Sprintf("%s.%d", node, time.Now().UnixNano())
	if err := os.MkdirAll(tokenDir, 0o700); err != nil {
		return err
	}
	fmt.Println(t)
	return os.WriteFile(filepath.Join(tokenDir, t), nil, 0o600)
}

// cleanup removes what the agent made.
func cleanup(context.Context, []string) error {
	for _, line := range []string{"ip link del fairlead0", "nft delete table ip fairlead", "umount " + config.DefaultAgentDir + "/volume"} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v: %s", line, err, out)
		}
	}
	return nil
}
