package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/encryption"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/join"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/supervise"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent"
)

// maxRequest bounds a certificate request on standard input.
const maxRequest = 64 << 10

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%s takes no argument, and got %q", c.CommandPath(), args[0])}
	}
	return nil
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
			rest, err := clientcmd.BuildConfigFromFlags("", filepath.Join(cfg.DataDir, controlplane.AdminKubeconfig))
			if err != nil {
				return fmt.Errorf("cannot read the administrator's kubeconfig: %w", err)
			}
			client, err := kubernetes.NewForConfig(rest)
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

// credential is what `fairlead credential sign` prints.
type credential struct {
	CA          string    `json:"ca"`
	Certificate string    `json:"certificate"`
	Server      string    `json:"server"`
	Expires     time.Time `json:"expires"`
}

func credentialCommand() *cobra.Command {
	c := &cobra.Command{Use: "credential", Short: "Sign client certificates"}
	var file, user string
	var groups []string
	var ttl time.Duration
	sign := &cobra.Command{
		Use:   "sign",
		Short: "Sign the certificate request on standard input and print the certificate as JSON",
		Long: "Sign the PEM certificate request on standard input for a user and print, as JSON, the certificate, the cluster's CA and\n" +
			"the server's URL. Run it on a control-plane host, as root. The key stays where the request was made.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if ttl <= 0 || ttl > pki.MaxCredentialLife {
				return &usageError{fmt.Errorf("--ttl: %s is not between 0 and %s", ttl, pki.MaxCredentialLife)}
			}
			cfg, err := serverConfig(file)
			if err != nil {
				return err
			}
			request, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxRequest))
			if err != nil {
				return fmt.Errorf("cannot read certificate request: %w", err)
			}
			return signCredential(c.OutOrStdout(), cfg, request, pki.Subject{CommonName: user, Organizations: groups, Client: true, Life: ttl})
		},
	}
	sign.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	sign.Flags().StringVar(&user, "user", "", "the `NAME` of the user")
	sign.Flags().StringSliceVar(&groups, "group", nil, "a `GROUP` of the user; may be repeated")
	sign.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the certificate is good, at most 24h")
	_ = sign.MarkFlagRequired("user")
	c.AddCommand(sign)
	return c
}

func signCredential(w io.Writer, cfg config.Server, request []byte, subject pki.Subject) error {
	keys, err := pki.ReadCluster(filepath.Join(cfg.DataDir, "pki"))
	if err != nil {
		return err
	}
	cert, err := keys.SignRequest(request, subject)
	if err != nil {
		return err
	}
	kubeconfig, err := clientcmd.BuildConfigFromFlags("", filepath.Join(cfg.DataDir, controlplane.AdminKubeconfig))
	if err != nil {
		return fmt.Errorf("cannot read the administrator's kubeconfig: %w", err)
	}
	return json.NewEncoder(w).Encode(credential{
		CA: string(keys.PEM()), Certificate: string(cert), Server: kubeconfig.Host, Expires: time.Now().Add(subject.Life).UTC(),
	})
}

func encryptionCommand() *cobra.Command {
	c := &cobra.Command{Use: "encryption", Short: "Look after the keys that encrypt secrets at rest"}
	var file string
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Put a new key in front; it takes effect when the server starts next, older keys keep reading",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := serverConfig(file)
			if err != nil {
				return err
			}
			return encryption.Rotate(filepath.Join(cfg.DataDir, "pki", "encryption.json"))
		},
	}
	rotate.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	c.AddCommand(rotate)
	return c
}

func superviseCommand() *cobra.Command {
	var cfg supervise.Config
	c := &cobra.Command{
		Use:   "supervise --name NAME -- COMMAND [ARG...]",
		Short: "Keep a command running on a host without a service manager",
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
