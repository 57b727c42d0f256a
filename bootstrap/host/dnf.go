package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// dnf is Fedora's and its relatives'. Packages go by what they provide: with Docker's repository, containerd and runc are
// both in containerd.io. What comes along is not recorded, since dnf takes away itself what nothing needs any more.
type dnf struct{ c ssh.Conn }

func (d *dnf) Name() string { return "dnf" }

func (d *dnf) Package(tool string) string { return packageOf(tool) }

// packageOf has names that Fedora and Alpine have in common.
func packageOf(tool string) string {
	switch tool {
	case "nft":
		return "nftables"
	case "conntrack":
		return "conntrack-tools"
	default:
		return tool
	}
}

func (d *dnf) Plan(ctx context.Context, packages []string) ([]string, error) {
	line := fmt.Sprintf(`for n in %s; do rpm -q --quiet --whatprovides "$n" >/dev/null 2>&1 || echo "$n"; done`, quoteAll(packages))
	return namesOf(ctx, d.c, line)
}

// namesOf runs a command that prints names of packages.
func namesOf(ctx context.Context, c ssh.Conn, line string) ([]string, error) {
	out, err := c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out.Stdout)), nil
}

func (d *dnf) Install(ctx context.Context, packages []string) error {
	_, err := d.c.Run(ctx, ssh.Command{Line: "dnf -y install --setopt=install_weak_deps=False " + quoteAll(packages) + " </dev/null >&2", Sudo: true})
	return err
}

// Remove asks rpm first, since dnf would take along what needs the packages.
func (d *dnf) Remove(ctx context.Context, packages []string) error {
	line := fmt.Sprintf(`p=
for n in %s; do if m=$(rpm -q --whatprovides --qf '%%{NAME} ' "$n" 2>/dev/null); then p="$p $m"; fi; done
[ -n "$p" ] || exit 0
p=$(echo $p | tr ' ' '\n' | sort -u)
more=$(rpm -e --test $p 2>&1) || { echo "other packages need them:" $more >&2; exit 1; }
dnf -y -q remove --setopt=clean_requirements_on_remove=True $p </dev/null >&2`, quoteAll(packages))
	_, err := d.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}
