// Package kubectl plays transcripts with kubectl against a cluster of one real machine: what needs pods that run.
package kubectl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/single"
)

const (
	// helloImage has a web server that serves /etc, helloImage+"2" is another name of the same.
	helloImage = "localhost/hello:1"

	// together is how many transcripts are played at once: most of the time they wait.
	together = "6"
)

// cluster is what all tests share.
var cluster *single.Cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), single.SetupTimeout)
	defer cancel()
	if cluster, err = single.Start(ctx, "flk", netip.MustParsePrefix("10.78.31.0/24")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	web := func(c *v1.Config) { c.Cmd = []string{"httpd", "-f", "-p", "8080", "-h", "/etc"} }
	for name, change := range map[string]func(*v1.Config){single.ToolsImage: nil, helloImage: web, helloImage + "2": web} {
		if err := cluster.Put(ctx, name, change); err != nil {
			return 1, err
		}
	}
	if err := flag.Set("test.parallel", together); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
