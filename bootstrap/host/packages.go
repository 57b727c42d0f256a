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
		return &rpmLike{c: c, name: "dnf", plan: "rpm -q --quiet", install: "dnf -y -q install --setopt=install_weak_deps=False",
			remove: "dnf -y -q remove --setopt=clean_requirements_on_remove=True"}
	case "apk":
		return &rpmLike{c: c, name: "apk", plan: "apk info -e -q", install: "apk add -q --wait 120", remove: "apk del -q --wait 120"}
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

// apt is Debian's and Ubuntu's.
type apt struct{ c ssh.Conn }

func (a *apt) Name() string { return "apt" }

func (a *apt) Package(tool string) string {
	if tool == "nft" {
		return "nftables"
	}
	return tool
}

// aptGet waits for dpkg's lock by itself; the lock of the package lists it does not wait for, so an update is
// tried again.
const aptGet = `export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
apt() { apt-get -y -q -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" </dev/null; }
update() {
  n=0
  until e=$(apt update 2>&1 >/dev/null); do
    n=$((n + 1))
    case $e in *'Could not get lock'*) ;; *) n=24 ;; esac
    [ $n -lt 24 ] || { echo "$e" >&2; return 1; }
    sleep 5
  done
}
`

func (a *apt) Plan(ctx context.Context, packages []string) ([]string, error) {
	line := aptGet + fmt.Sprintf(`p="%s"
try() { apt -s --no-install-recommends install $p; }
out=$(try 2>/dev/null) || { update && out=$(try); } || exit 1
echo "$out" | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }'`, strings.Join(packages, " "))
	out, err := a.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out.Stdout)), nil
}

func (a *apt) Install(ctx context.Context, packages []string) error {
	// Another installation that was cut off is finished first. Indexes that are too old name files that are gone.
	line := aptGet + fmt.Sprintf(`p="%s"
dpkg --configure -a </dev/null >&2
try() { apt --no-install-recommends install $p >&2; }
try || { update && try; }`, strings.Join(packages, " "))
	_, err := a.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}

func (a *apt) Remove(ctx context.Context, packages []string) error {
	line := aptGet + fmt.Sprintf(`p=
for n in %s; do [ -z "$(dpkg-query -W -f '${db:Status-Status}' "$n" 2>/dev/null)" ] || p="$p $n"; done
[ -n "$p" ] || exit 0
more=$(apt -s purge $p | awk '$1 == "Remv" || $1 == "Purg" { print $2 }' | grep -vxF "$(echo $p | tr ' ' '\n')")
[ -z "$more" ] || { echo "other packages need them:" $more >&2; exit 1; }
apt purge $p >&2`, quoteAll(packages))
	_, err := a.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}

// rpmLike is a package manager whose removal takes dependencies along that nothing needs any more.
type rpmLike struct {
	c                     ssh.Conn
	name                  string
	plan, install, remove string // commands that take package names
}

func (r *rpmLike) Name() string { return r.name }

func (r *rpmLike) Package(tool string) string {
	switch tool {
	case "nft":
		return "nftables"
	case "conntrack":
		return "conntrack-tools"
	default:
		return tool
	}
}

func (r *rpmLike) Plan(ctx context.Context, packages []string) ([]string, error) {
	line := fmt.Sprintf(`for n in %s; do %s "$n" >/dev/null 2>&1 || echo "$n"; done`, quoteAll(packages), r.plan)
	out, err := r.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out.Stdout)), nil
}

func (r *rpmLike) Install(ctx context.Context, packages []string) error {
	_, err := r.c.Run(ctx, ssh.Command{Line: fmt.Sprintf("%s %s </dev/null >&2", r.install, quoteAll(packages)), Sudo: true})
	return err
}

func (r *rpmLike) Remove(ctx context.Context, packages []string) error {
	line := fmt.Sprintf(`p=
for n in %s; do if %s "$n" >/dev/null 2>&1; then p="$p $n"; fi; done
[ -z "$p" ] || %s $p </dev/null >&2`, quoteAll(packages), r.plan, r.remove)
	_, err := r.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}
