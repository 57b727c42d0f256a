package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// Timeouts of package work. An installation covers the wait for another one's lock, fetching an index and some
// 60 MB of packages over a slow line, and unpacking on a slow disk.
const (
	lockWait       = 2 * time.Minute
	InstallTimeout = lockWait + 3*time.Minute + 2*time.Minute
)

// RecordFile lists what was put on the host besides fairlead itself, one "KIND NAME" a line, so that removal
// takes away that and nothing else.
const RecordFile = "/var/lib/fairlead/installed"

// PackageManager installs packages without asking anybody.
type PackageManager interface {
	Name() string
	// Package is the package that has a program of NeededTools and WantedTools.
	Package(tool string) string
	// Plan says which packages an installation of these would add, dependencies included.
	Plan(ctx context.Context, packages []string) ([]string, error)
	Install(ctx context.Context, packages []string) error
	// Remove removes packages; those that are not there are no error.
	Remove(ctx context.Context, packages []string) error
}

// Packages returns the host's package manager, nil when there is none.
func Packages(c ssh.Conn, f *Facts) PackageManager {
	switch f.PackageManager {
	case "apt-get":
		return &apt{c}
	case "dnf":
		return &dnf{c}
	case "apk":
		return &apk{c}
	default:
		return nil
	}
}

// EnsureTools installs what the host lacks of WantedTools, and records it before it does: an installation that is
// cut off is removed as a whole one is. It returns the packages that it asked for.
func EnsureTools(ctx context.Context, c ssh.Conn, f *Facts) ([]string, error) {
	missing := f.Missing(WantedTools)
	pm := Packages(c, f)
	if len(missing) == 0 || pm == nil && len(f.Missing(NeededTools)) == 0 {
		return nil, nil
	}
	if pm == nil {
		return nil, fmt.Errorf("cannot install %s on %s: there is no package manager", strings.Join(missing, ", "), c.Host())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, InstallTimeout, fmt.Errorf("no end after %v", InstallTimeout))
	defer cancel()
	var packages []string
	for _, tool := range missing {
		packages = append(packages, pm.Package(tool))
	}
	added, err := pm.Plan(ctx, packages)
	if err == nil {
		err = Record(ctx, c, "package", added...)
	}
	if err == nil {
		err = pm.Install(ctx, packages)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot install %s on %s: %w", strings.Join(packages, ", "), c.Host(), err)
	}
	return packages, nil
}

// Record adds names to RecordFile.
func Record(ctx context.Context, c ssh.Conn, kind string, names ...string) error {
	lines, err := recordLines(ctx, c)
	if err != nil {
		return err
	}
	had := len(lines)
	for _, n := range names {
		if line := kind + " " + n; !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(lines) == had {
		return nil
	}
	return c.Upload(ctx, strings.NewReader(strings.Join(lines, "\n")+"\n"), RecordFile, 0o644)
}

// Recorded returns the names of a kind.
func Recorded(ctx context.Context, c ssh.Conn, kind string) ([]string, error) {
	lines, err := recordLines(ctx, c)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range lines {
		if name, ok := strings.CutPrefix(l, kind+" "); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

func recordLines(ctx context.Context, c ssh.Conn) ([]string, error) {
	data, err := c.ReadFile(ctx, RecordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lines []string
	for l := range strings.Lines(string(data)) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = ssh.Quote(w)
	}
	return strings.Join(quoted, " ")
}
