package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const (
	electionPrefix = "/fairlead/leader"
	// leaderTTL is how long a leader that vanished keeps the others from taking over, in seconds.
	leaderTTL = 15
	// campaignPause is between two attempts after an error.
	campaignPause = time.Second
)

// elector runs something on one of all servers at a time.
type elector struct {
	client *clientv3.Client
	// identity is this server's, the same after a restart.
	identity string
	log      *slog.Logger
}

// run calls lead whenever this server is the leader, with a context that ends when it is no longer; losing the
// election stops lead and campaigns anew, it never ends the process. It returns when ctx ends.
func (e *elector) run(ctx context.Context, lead func(context.Context) error) error {
	for ctx.Err() == nil {
		err := e.campaign(ctx, lead)
		if ctx.Err() != nil {
			break
		}
		e.log.Error("leadership ended; campaigning again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(campaignPause):
		}
	}
	return nil
}

func (e *elector) campaign(ctx context.Context, lead func(context.Context) error) error {
	if err := e.dropFormerSelf(ctx); err != nil {
		return err
	}
	session, err := concurrency.NewSession(e.client, concurrency.WithTTL(leaderTTL), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("cannot open election session: %w", err)
	}
	defer e.resign(session)
	if err := concurrency.NewElection(session, electionPrefix).Campaign(ctx, e.identity); err != nil {
		return fmt.Errorf("cannot campaign: %w", err)
	}
	e.log.Info("leading", "identity", e.identity)
	leading, stop := context.WithCancelCause(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-session.Done():
			stop(errors.New("the election session ended"))
		case <-leading.Done():
		}
	}()
	defer func() { stop(nil); <-watching }()
	if err := lead(leading); err != nil {
		return err
	}
	return context.Cause(leading)
}

// dropFormerSelf ends the leadership of this server's former process, which a crash leaves behind until its
// lease expires. The lock on the data directory says that it is dead.
func (e *elector) dropFormerSelf(ctx context.Context) error {
	resp, err := e.client.Get(ctx, electionPrefix+"/", clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("cannot read election: %w", err)
	}
	for _, kv := range resp.Kvs {
		if string(kv.Value) == e.identity && kv.Lease != 0 {
			if _, err := e.client.Revoke(ctx, clientv3.LeaseID(kv.Lease)); err != nil {
				return fmt.Errorf("cannot end former leadership: %w", err)
			}
		}
	}
	return nil
}

// resign lets the next leader in at once.
func (e *elector) resign(session *concurrency.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	session.Orphan()
	_, _ = e.client.Revoke(ctx, session.Lease())
}
