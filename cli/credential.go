package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/credential"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// maxRequest bounds a certificate request on standard input.
const maxRequest = 64 << 10

// signed is what `fairlead credential sign` prints.
type signed struct {
	CA          string    `json:"ca"`
	Certificate string    `json:"certificate"`
	Server      string    `json:"server"`
	Expires     time.Time `json:"expires"`
}

func credentialCommand() *cobra.Command {
	c := &cobra.Command{Use: "credential", Short: "Give out credentials for the cluster, and take them back"}
	c.AddCommand(signCommand(), openCommand(), renewCommand(), revokeCommand())
	return c
}

func signCommand() *cobra.Command {
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
	return sign
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
	return json.NewEncoder(w).Encode(signed{
		CA: string(keys.PEM()), Certificate: string(cert), Server: kubeconfig.Host, Expires: time.Now().Add(subject.Life).UTC(),
	})
}

// opened is what `fairlead credential open` prints, and with an expiry alone `renew`.
type opened struct {
	ID      string    `json:"id,omitempty"`
	Token   string    `json:"token,omitempty"`
	CA      string    `json:"ca,omitempty"`
	Server  string    `json:"server,omitempty"`
	Expires time.Time `json:"expires"`
}

func openCommand() *cobra.Command {
	var file, user string
	var groups []string
	var ttl, most time.Duration
	c := &cobra.Command{
		Use:   "open",
		Short: "Make a bearer token and print it as JSON",
		Long: "Make a bearer token for a user and print, as JSON, its id, the token, the cluster's CA and the server's URL.\n" +
			"It expires unless it is renewed, and can be revoked. Run it on a control-plane host, as root.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := serverConfig(file)
			if err != nil {
				return err
			}
			keys, err := pki.ReadCluster(filepath.Join(cfg.DataDir, "pki"))
			if err != nil {
				return err
			}
			id, token, record, err := credential.New(keys, user, groups, ttl, most, time.Now())
			if err != nil {
				return &usageError{err}
			}
			client, server, err := adminClient(cfg)
			if err != nil {
				return err
			}
			if record, err = client.CoreV1().Secrets(record.Namespace).Create(c.Context(), record, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("cannot store credential: %w", err)
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(opened{ID: id, Token: token, CA: string(keys.PEM()), Server: server, Expires: credential.Expires(record)})
		},
	}
	c.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	c.Flags().StringVar(&user, "user", "", "the `NAME` of the user")
	c.Flags().StringSliceVar(&groups, "group", nil, "a `GROUP` of the user; may be repeated")
	c.Flags().DurationVar(&ttl, "ttl", 10*time.Minute, "how long it is good unless it is renewed")
	c.Flags().DurationVar(&most, "max", credential.MaxLife, "how long it can be renewed, at most 24h")
	_ = c.MarkFlagRequired("user")
	return c
}

func renewCommand() *cobra.Command {
	var file string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "renew ID",
		Short: "Put off the expiry of a token, and print as JSON when it expires",
		Args:  oneArg("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if ttl <= 0 {
				return &usageError{fmt.Errorf("--ttl: %s is not more than 0", ttl)}
			}
			cfg, err := serverConfig(file)
			if err != nil {
				return err
			}
			client, _, err := adminClient(cfg)
			if err != nil {
				return err
			}
			expires, err := renewCredential(c.Context(), client, args[0], ttl)
			if err != nil {
				return fmt.Errorf("cannot renew credential %s: %w", args[0], err)
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(opened{Expires: expires})
		},
	}
	c.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	c.Flags().DurationVar(&ttl, "ttl", 10*time.Minute, "how long it is good from now on")
	return c
}

func renewCredential(ctx context.Context, client kubernetes.Interface, id string, ttl time.Duration) (expires time.Time, err error) {
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		record, err := secrets.Get(ctx, credential.SecretName(id), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return credential.ErrRefused
		}
		if err != nil {
			return err
		}
		if expires, err = credential.Extend(record, ttl, time.Now()); err != nil {
			return err
		}
		_, err = secrets.Update(ctx, record, metav1.UpdateOptions{})
		return err
	})
	return expires, err
}

func revokeCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token at once; one that is not there is no error",
		Args:  oneArg("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := serverConfig(file)
			if err != nil {
				return err
			}
			client, _, err := adminClient(cfg)
			if err != nil {
				return err
			}
			err = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(c.Context(), credential.SecretName(args[0]), metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("cannot revoke credential %s: %w", args[0], err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", config.ServerFile, "the server's configuration `FILE`")
	return c
}
