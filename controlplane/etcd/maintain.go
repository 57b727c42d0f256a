package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	maintainEvery = 10 * time.Minute
	// alarmedEvery is the pace while the quota alarm is up: writes fail until it is down.
	alarmedEvery = 15 * time.Second
	// trimEvery is how often the pages of the database that were read are given back; see trim.
	trimEvery = 30 * time.Second

	// A database is rewritten when at least defragBytes and at least half of it are free pages. Members do not
	// answer while they rewrite (about a second for each gigabyte in use), so it must pay.
	defragBytes = 256 << 20
	// The alarm is disarmed below this share of the quota, so that it does not come back at once.
	disarmShare = 0.9
)

// maintain looks after the database until ctx ends: it gives free pages back to the file system when they are
// many, and disarms the quota alarm once there is room again. Compaction is the business of the writer (package
// store), who knows which history is still wanted.
func (m *Member) maintain(ctx context.Context) {
	due := time.NewTimer(m.every)
	defer due.Stop()
	trimming := time.NewTicker(trimEvery)
	defer trimming.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-trimming.C:
			err = trim(m.etcd.Server.Backend(), m.database)
		case <-due.C:
			var alarmed bool
			alarmed, err = m.maintainOnce(ctx)
			pace := m.every
			if alarmed {
				pace = min(pace, alarmedEvery)
			}
			due.Reset(pace)
		}
		if err != nil && ctx.Err() == nil {
			m.log.Warn("cannot look after etcd", "error", err)
		}
	}
}

// maintainOnce reports whether the quota alarm is still up.
func (m *Member) maintainOnce(ctx context.Context) (alarmed bool, err error) {
	b := m.etcd.Server.Backend()
	size, used := b.Size(), b.SizeInUse()
	alarmed = m.noSpace()
	if fragmented(size, used) || alarmed && size-used > int64((1-disarmShare)*float64(m.quota)) {
		start := time.Now()
		if err := b.Defrag(); err != nil {
			return alarmed, fmt.Errorf("cannot defragment etcd: %w", err)
		}
		m.log.Info("defragmented etcd", "before", size, "after", b.Size(), "took", time.Since(start))
	}
	if !alarmed || float64(b.Size()) >= disarmShare*float64(m.quota) {
		return alarmed, nil
	}
	alarm := clientv3.AlarmMember{MemberID: uint64(m.etcd.Server.MemberID()), Alarm: etcdserverpb.AlarmType_NOSPACE}
	if _, err := m.Client.AlarmDisarm(ctx, &alarm); err != nil {
		return true, fmt.Errorf("cannot disarm the quota alarm of etcd: %w", err)
	}
	m.log.Info("etcd has room again, its quota alarm is down", "size", b.Size(), "quota", m.quota)
	return false, nil
}

func fragmented(size, used int64) bool {
	return size-used >= defragBytes && size-used >= size/2
}

func (m *Member) noSpace() bool {
	for _, a := range m.etcd.Server.Alarms() {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			return true
		}
	}
	return false
}

// Health returns nil while the member can take writes, else what is wrong: no leader, the quota used up, damaged
// data. It does not ask other members, writes nothing and returns at once.
func (m *Member) Health() error {
	s := m.etcd.Server
	select {
	case <-s.StopNotify():
		return errors.New("etcd has stopped")
	default:
	}
	if s.Leader() == 0 {
		return errors.New("etcd has no leader")
	}
	for _, a := range s.Alarms() {
		switch a.Alarm {
		case etcdserverpb.AlarmType_NOSPACE:
			return fmt.Errorf("etcd's database has used up its quota of %d bytes: delete objects or raise the quota", m.quota)
		case etcdserverpb.AlarmType_CORRUPT:
			return fmt.Errorf("etcd member %x has damaged data: restore it from a snapshot or another member", a.MemberID)
		}
	}
	return nil
}
