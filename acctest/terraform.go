// Package acctest holds the acceptance tests: real Terraform with the provider's own binary, against real
// machines that package machine makes. They run as root, need nothing to be set, and what they need of the host,
// besides Go and Terraform, `make deps` installs: debootstrap, systemd-nspawn, QEMU, nft, static busybox.
package acctest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Build compiles the provider into dir and returns a Terraform CLI configuration that uses it. version is what it
// says of itself; empty is what a build without one says.
func Build(ctx context.Context, dir, version string) (cliConfig string, err error) {
	binary := filepath.Join(dir, "terraform-provider-fairlead")
	const module = "github.com/fairlead-io/terraform-provider-fairlead"
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X "+module+"/internal/version.Version="+version, "-o", binary, module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the provider: %w\n%s", err, out)
	}
	cliConfig = filepath.Join(dir, "terraformrc")
	content := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"fairlead-io/fairlead\" = %q\n  }\n  direct {}\n}\ndisable_checkpoint = true\n", dir)
	return cliConfig, os.WriteFile(cliConfig, []byte(content), 0o644)
}

// Workspace is a directory with a configuration and a state.
type Workspace struct {
	Dir       string
	CLIConfig string
	// Env is added to Terraform's environment.
	Env []string

	vars map[string]any // what terraform.tfvars.json has
}

// Write puts a configuration file into the workspace.
func (w *Workspace) Write(name, content string) error {
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.Dir, name), []byte(content), 0o644)
}

// Error is a Terraform command that failed.
type Error struct {
	Args   []string
	Code   int
	Output string // both streams
}

func (e *Error) Error() string {
	return fmt.Sprintf("terraform %s ended with %d:\n%s", strings.Join(e.Args, " "), e.Code, e.Output)
}

// command is a Terraform run that is interrupted, as by Ctrl-C, when ctx ends.
func (w *Workspace) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "terraform", args...)
	cmd.Dir = w.Dir
	cmd.Env = append(append(os.Environ(), "TF_CLI_CONFIG_FILE="+w.CLIConfig, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1"), w.Env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	return cmd
}

// Terraform runs a command and returns what it printed. The error of a command that failed is an *Error.
func (w *Workspace) Terraform(ctx context.Context, args ...string) (string, error) {
	cmd := w.command(ctx, args)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return out.String(), &Error{Args: args, Code: exit.ExitCode(), Output: out.String()}
	}
	return out.String(), err
}

// Apply applies the configuration.
func (w *Workspace) Apply(ctx context.Context, args ...string) (string, error) {
	return w.Terraform(ctx, append([]string{"apply", "-auto-approve", "-no-color"}, args...)...)
}

// Destroy destroys what is in state.
func (w *Workspace) Destroy(ctx context.Context, args ...string) (string, error) {
	return w.Terraform(ctx, append([]string{"destroy", "-auto-approve", "-no-color"}, args...)...)
}

// Plan says whether a plan has changes, and what it printed.
func (w *Workspace) Plan(ctx context.Context, args ...string) (changes bool, output string, err error) {
	out, err := w.Terraform(ctx, append([]string{"plan", "-detailed-exitcode", "-no-color"}, args...)...)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == 2 {
		return true, out, nil
	}
	return false, out, err
}

// Output returns an output value that is a string.
func (w *Workspace) Output(ctx context.Context, name string) (string, error) {
	cmd := w.command(ctx, []string{"output", "-json", name})
	data, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot read output %s: %w", name, err)
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return "", fmt.Errorf("cannot read output %s: %w", name, err)
	}
	return s, nil
}

// State returns the addresses of the resources in state.
func (w *Workspace) State(ctx context.Context) ([]string, error) {
	out, err := w.Terraform(ctx, "state", "list")
	return strings.Fields(out), err
}

// Set changes variables of the configuration; those that it does not name keep what they had.
func (w *Workspace) Set(vars map[string]any) error {
	if w.vars == nil {
		w.vars = map[string]any{}
	}
	maps.Copy(w.vars, vars)
	data, err := json.MarshalIndent(w.vars, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write variables: %w", err)
	}
	return w.Write("terraform.tfvars.json", string(data))
}
