package acctest

import (
	"context"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/acctest/machine"
)

// The network of the tests' machines, and the beginning of their names and of their bridge's.
const (
	prefix  = "fla"
	network = "10.78.30.0/24"
)

//go:embed testdata/*.tf
var configurations embed.FS

// What all tests share: made once, removed at the end.
var (
	fleet     *machine.Fleet
	cliConfig string // Terraform's, with the provider that was built
	imageFile string // an archive with examples/web, testdata/fetch and busybox in it
	scratch   string // for workspaces
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if scratch, err = os.MkdirTemp("", "fairlead-acctest-"); err != nil {
		return 1, err
	}
	defer func() {
		if e := os.RemoveAll(scratch); err == nil {
			err = e
		}
	}()
	if cliConfig, err = Build(ctx, scratch, ""); err != nil {
		return 1, err
	}
	if imageFile, err = webImage(ctx, scratch); err != nil {
		return 1, err
	}
	fleet, err = machine.NewFleet(ctx, prefix, netip.MustParsePrefix(network))
	if err != nil {
		return 1, err
	}
	defer func() {
		if e := fleet.Close(); err == nil {
			err = e
		}
	}()
	return m.Run(), nil
}

// webImage makes an image of the example's web server, with what is needed to look around from inside. Busybox has a
// client too, but one that needs a C library to resolve names.
func webImage(ctx context.Context, dir string) (string, error) {
	const module = "github.com/fairlead-io/terraform-provider-fairlead/"
	server, client, file := filepath.Join(dir, "web"), filepath.Join(dir, "fetch"), filepath.Join(dir, "web.tar")
	for _, args := range [][]string{
		{"build", "-o", server, module + "examples/web"},
		{"build", "-o", client, module + "acctest/testdata/fetch"},
		{"run", module + "internal/tools/binimage", "-o", file, "-add", "bin/fetch=" + client, "-add", "bin/busybox=/bin/busybox", server},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot make the test's image: %w\n%s", err, out)
		}
	}
	return file, nil
}
