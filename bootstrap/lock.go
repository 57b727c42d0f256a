package bootstrap

import (
	"context"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/hostlock"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// LockedError is a host that another run is changing; nothing was changed.
type LockedError = hostlock.LockedError

// Locked runs do while no other run can change the host, with do's context. Everything here that changes a host runs
// under its lock; a caller that holds it already does several things under one. The operation says what is done, to
// whoever finds the host locked.
func Locked(ctx context.Context, c ssh.Conn, operation string, do func(context.Context) error) error {
	return hostlock.Run(ctx, c, config.LockFile, operation, do)
}

// lockedInstall is Locked for what returns what is installed; that is nothing known when the host is locked.
func lockedInstall(ctx context.Context, c ssh.Conn, operation string, do func(context.Context) (*Installed, error)) (*Installed, error) {
	in := &Installed{}
	err := Locked(ctx, c, operation, func(ctx context.Context) (err error) {
		in, err = do(ctx)
		return err
	})
	return in, err
}
