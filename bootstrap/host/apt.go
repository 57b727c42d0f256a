package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

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
