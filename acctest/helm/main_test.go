// Package helm takes a chart through its life on a cluster of one real machine, with each Helm that is to work.
package helm

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/single"
)

// binaries is where `make helm` puts what it builds.
const binaries = "../../.cache/helm"

// versions are those of `make helm`.
var versions = []string{"v3.22.0", "v4.3.1"}

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
	for _, v := range versions {
		if err := check(v); err != nil {
			return 1, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), single.SetupTimeout)
	defer cancel()
	if cluster, err = single.Start(ctx, "flh", netip.MustParsePrefix("10.78.32.0/24")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	if err := cluster.Put(ctx, single.ToolsImage, nil); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func TestHelm(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			newLife(t, v).run()
		})
	}
}

func binary(version string) string { return filepath.Join(binaries, version, "helm") }

// check wants Helm to be what its module says it is.
func check(version string) error {
	path := binary(version)
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("helm is needed, which `make helm` builds: %w", err)
	}
	if m, want := info.Main, "helm.sh/helm/"+major(version); m.Path != want || m.Version != version || m.Replace != nil {
		return fmt.Errorf("%s is %s %s, not %s %s", path, m.Path, m.Version, want, version)
	}
	return nil
}

// major is v3 of v3.22.0.
func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}
