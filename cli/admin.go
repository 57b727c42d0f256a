package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/join"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/supervise"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent"
)

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%s takes no argument, and got %q", c.CommandPath(), args[0])}
	}
	return nil
}

func oneArg(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &usageError{fmt.Errorf("%s takes one argument, %s, and got %d", c.CommandPath(), name, len(args))}
		}
		return nil
	}
}

// serverConfig reads this host's server configuration; without a file the defaults hold.
func serverConfig(file string) (config.Server, error) {
	cfg := config.Server{}
	err := config.Read(file, &cfg)
	if errors.Is(err, fs.ErrNotExist) && file == config.ServerFile {
		err = nil
	}
	if err != nil {
		return cfg, err
	}
	return cfg, controlplane.Complete(&cfg)
}

// localAgentConfig finds the agent's configuration on this host: its own file, or the server's with a node in it.
func localAgentConfig(file string) (*config.Agent, error) {
	agent := &config.Agent{}
	candidates := []string{config.AgentFile, config.ServerFile}
	if file != "" {
		candidates = []string{file}
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && file == "" {
			continue
		}
		if err := config.Read(path, agent); err == nil {
			break
		}
		server := config.Server{}
		if err := config.Read(path, &server); err != nil {
			return nil, err
		}
		if server.Node != nil {
			agent = server.Node
		}
		agent.PodCIDR, agent.ServiceCIDR = server.PodCIDR, server.ServiceCIDR
		break
	}
	return agent, nodeagent.Complete(agent)
}

// adminClient is an administrator's client of the server on this host, and the server's URL.
func adminClient(cfg config.Server) (kubernetes.Interface, string, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", filepath.Join(cfg.DataDir, controlplane.AdminKubeconfig))
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the administrator's kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(rest)
	return client, rest.Host, err
}

func tokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Make join tokens"}
	var file, node string
	var ttl time.Duration
	create := &cobra.Command{
		Use:   "create",
		Short: "Print a token that lets one node join, once",
		Long:  "Print a token that lets one node join, once. Run it on a control-plane host, as root.",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := serverConfig(file)
			if err != nil {
				return err
			}
			token, secret, err := join.NewToken(node, ttl, time.Now())
			if err != nil {
				return &usageError{err}
			}
			client, _, err := adminClient(cfg)
			if err != nil {
				return err
			}
			if _, err := client.CoreV1().Secrets(secret.Namespace).Create(c.Context(), secret, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("cannot store join token: %w", err)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
	create.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	create.Flags().StringVar(&node, "node", "", "the `NAME` that the node will have")
	create.Flags().DurationVar(&ttl, "ttl", 15*time.Minute, "how long the token is good, at most 24h")
	_ = create.MarkFlagRequired("node")
	c.AddCommand(create)
	return c
}

func superviseCommand() *cobra.Command {
	var cfg supervise.Config
	c := &cobra.Command{
		Use:   "supervise --name NAME -- COMMAND [ARG...]",
		Short: "Keep a command running on a host without a service manager, with a log of bounded size",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{errors.New("supervise: no command after --")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg.Command = args
			return supervise.Run(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&cfg.Name, "name", "", "the service's `NAME`")
	c.Flags().BoolVar(&cfg.Once, "once", false, "end with the command, for a service manager that starts it anew")
	c.Flags().StringVar(&cfg.PIDFile, "pid-file", "", "write the supervisor's PID to this `FILE`")
	c.Flags().StringVar(&cfg.LogFile, "log-file", "", "append the command's output to this `FILE`")
	_ = c.MarkFlagRequired("name")
	return c
}

func versionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch output {
			case "":
				fmt.Fprintf(c.OutOrStdout(), "fairlead %s (Kubernetes API %s, %s/%s)\n", version.String(), version.KubernetesVersion, runtime.GOOS, runtime.GOARCH)
				return nil
			case "json":
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{
					"version": version.String(), "kubernetes": version.KubernetesVersion, "os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			default:
				return &usageError{fmt.Errorf("--output: %q is not json", output)}
			}
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json prints it for programs")
	return c
}
