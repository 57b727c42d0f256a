package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/encryption"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// askEvery is between two looks at how far the server is.
const askEvery = 200 * time.Millisecond

func encryptionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "encryption",
		Short: "Look after the keys that encrypt secrets at rest",
		Long: "Look after the keys that encrypt secrets at rest. Run it on a control-plane host, as root, while the server runs: the server\n" +
			"does the work, without a restart.",
	}
	c.AddCommand(
		keeperCommand("status", "Say which keys there are, and how many secrets are under each", encryption.StatusPath),
		keeperCommand("rotate", "Make a new key, and write all secrets anew under it; older keys go on to read", encryption.RotatePath),
		keeperCommand("prune", "Remove the keys under which nothing is stored any more; older backups need them", encryption.PrunePath),
	)
	return c
}

func keeperCommand(use, short, path string) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := localAdmin(file)
			if err != nil {
				return err
			}
			status, err := askKeeper(c.Context(), client, path)
			if err == nil && path == encryption.RotatePath {
				status, err = awaitRewritten(c.Context(), client, status)
			}
			if err != nil {
				return err
			}
			return printKeys(c.OutOrStdout(), status)
		},
	}
	c.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	return c
}

// localAdmin returns a client of this host's server as its administrator.
func localAdmin(file string) (rest.Interface, error) {
	cfg, err := serverConfig(file)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := clientcmd.BuildConfigFromFlags("", filepath.Join(cfg.DataDir, controlplane.AdminKubeconfig))
	if err != nil {
		return nil, fmt.Errorf("cannot read the administrator's kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return client.RESTClient(), nil
}

func askKeeper(ctx context.Context, c rest.Interface, path string) (*encryption.Status, error) {
	req := c.Post()
	if path == encryption.StatusPath {
		req = c.Get()
	}
	data, err := req.AbsPath(path).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the server (does it run?): %w", err)
	}
	status := &encryption.Status{}
	if err := json.Unmarshal(data, status); err != nil {
		return nil, fmt.Errorf("cannot read the server's answer: %w", err)
	}
	return status, nil
}

// awaitRewritten waits until nothing is under an older key. Who does not wait loses nothing: the server goes on.
func awaitRewritten(ctx context.Context, c rest.Interface, status *encryption.Status) (*encryption.Status, error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for status.Stale() > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		var err error
		if status, err = askKeeper(ctx, c, encryption.StatusPath); err != nil {
			return nil, err
		}
	}
	return status, nil
}

func printKeys(w io.Writer, s *encryption.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "KEY\tSTATE\tSECRETS")
	for _, k := range s.Keys {
		state := "older"
		switch {
		case k.Primary:
			state = "primary"
		case k.Retired != nil:
			state = "retired " + k.Retired.Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\n", k.ID, state, k.Values)
	}
	if s.Clear > 0 {
		fmt.Fprintf(t, "none\tnot encrypted\t%d\n", s.Clear)
	}
	return t.Flush()
}
