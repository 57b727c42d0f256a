package host

import (
	"context"
	"fmt"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// apk is Alpine's. What comes along is not recorded, since apk takes away itself what nothing needs any more.
type apk struct{ c ssh.Conn }

func (a *apk) Name() string { return "apk" }

func (a *apk) Package(tool string) string { return packageOf(tool) }

func (a *apk) Plan(ctx context.Context, packages []string) ([]string, error) {
	return namesOf(ctx, a.c, fmt.Sprintf(`for n in %s; do apk info -e -q "$n" >/dev/null 2>&1 || echo "$n"; done`, quoteAll(packages)))
}

// Install fetches indexes only where it fails without: none may be there, or they may name files that are gone.
func (a *apk) Install(ctx context.Context, packages []string) error {
	line := fmt.Sprintf(`try() { apk add -q --wait 120 %s </dev/null >&2; }
e=$(try 2>&1) || { apk update -q --wait 120 </dev/null >&2 && try; } || { echo "$e" >&2; exit 1; }`, quoteAll(packages))
	_, err := a.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}

// Remove looks what is left: apk removes nothing that is needed, and calls that a success.
func (a *apk) Remove(ctx context.Context, packages []string) error {
	line := fmt.Sprintf(`p=
for n in %s; do if apk info -e -q "$n" >/dev/null 2>&1; then p="$p $n"; fi; done
[ -n "$p" ] || exit 0
why=$(apk del --wait 120 $p </dev/null 2>&1) || { echo "$why" >&2; exit 1; }
for n in $p; do if apk info -e -q "$n" >/dev/null 2>&1; then echo "other packages need them:" $why >&2; exit 1; fi; done`, quoteAll(packages))
	_, err := a.c.Run(ctx, ssh.Command{Line: line, Sudo: true})
	return err
}
