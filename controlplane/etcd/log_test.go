package etcd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// What is as it should be is not logged as a failure.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := zap.New(newCore(slog.New(slog.NewTextHandler(&out, nil))))
	log.Info("started")
	log.Warn(stillNeeded, zap.String("path", "0.wal"))
	log.Error("failed to update storage version", zap.Error(errors.New("cannot detect storage schema version: missing term information")))
	if out.Len() > 0 {
		t.Errorf("logged %s", &out)
	}
	log.Error("failed to update storage version", zap.String("cluster-version", "3.7.0"), zap.Error(errors.New("disk full")))
	if got := out.String(); !strings.Contains(got, `level=ERROR msg="failed to update storage version" part=etcd`) || !strings.Contains(got, `error="disk full"`) {
		t.Errorf("logged %s", got)
	}
}
