package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestErrorsOfEtcd(t *testing.T) {
	for _, tt := range []struct {
		err       error
		code      int32 // 0: no status
		ambiguous bool
	}{
		{context.DeadlineExceeded, http.StatusGatewayTimeout, true},
		{status.Error(codes.DeadlineExceeded, "as etcd saw it"), http.StatusGatewayTimeout, true},
		{rpctypes.ErrTimeout, http.StatusGatewayTimeout, true},
		{rpctypes.ErrLeaderChanged, http.StatusGatewayTimeout, true},
		{status.Error(codes.Unavailable, "connection lost"), http.StatusServiceUnavailable, true},
		{context.Canceled, 0, true},
		{rpctypes.ErrNoSpace, http.StatusInsufficientStorage, false},
		{rpctypes.ErrTooManyRequests, http.StatusTooManyRequests, false},
		{rpctypes.ErrRequestTooLarge, http.StatusRequestEntityTooLarge, false},
		{rpctypes.ErrCompacted, http.StatusGone, false},
	} {
		err := fmt.Errorf("wrapped: %w", tt.err)
		var code int32
		var known apierrors.APIStatus
		if errors.As(apiError("create", "x", err), &known) {
			code = known.Status().Code
		}
		if code != tt.code || ambiguous(err) != tt.ambiguous {
			t.Errorf("%v: status %d, ambiguous %v", tt.err, code, ambiguous(err))
		}
	}
}
