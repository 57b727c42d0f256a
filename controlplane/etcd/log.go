package etcd

import (
	"context"
	"log/slog"
	"strings"

	"go.uber.org/zap/zapcore"
)

// core passes what etcd logs on to slog, from warnings upwards: etcd's information lines repeat its whole
// configuration several times a start.
type core struct {
	log *slog.Logger
}

func newCore(log *slog.Logger) zapcore.Core { return core{log.With("part", "etcd")} }

func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && c.log.Enabled(context.Background(), level(l))
}

func (c core) With(fields []zapcore.Field) zapcore.Core { return core{c.log.With(attrs(fields)...)} }

// stillNeeded is what etcd says, every half a minute, while it needs more segments of its log than walFiles. It drops the
// oldest of the others only, so that is as it should be.
const stillNeeded = "failed to lock file"

// notYet is the error with which etcd fails to note its version, of which a new member has nothing to note until its first
// term is in the database. It tries again every few seconds.
const notYet = "missing term information"

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && e.Message != stillNeeded {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	l := level(e.Level)
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && strings.Contains(err.Error(), notYet) {
			l = slog.LevelDebug
		}
	}
	c.log.Log(context.Background(), l, e.Message, attrs(fields)...)
	return nil
}

func (c core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]any, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		out = append(out, slog.Any(k, v))
	}
	return out
}

func level(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}
