package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// retrySeconds is what clients are told to wait before they try again.
const retrySeconds = 1

// Texts of 410 answers, as clients of Kubernetes know them.
const (
	watchExpired    = "The resourceVersion for the provided watch is too old."
	listExpired     = "The resourceVersion for the provided list is too old."
	continueExpired = "The provided continue parameter is too old to display a consistent list result. You can start a new " +
		"list without the continue parameter, or use the continue token in this response to retrieve the remainder of the " +
		"results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, " +
		"or deleted between the time the first chunk was returned and now may show up in the list."
)

// ClaimError says that another object holds a claim of this one (kind.Kind.Claims); nothing was written.
type ClaimError struct {
	Claim  string
	Holder string // key of the object that holds it: GROUP/PLURAL[/NAMESPACE]/NAME
}

func (e *ClaimError) Error() string { return "cannot claim " + e.Claim + ": held by " + e.Holder }

// apiError translates an error of etcd. verb and key say what was tried. A Timeout, a ServiceUnavailable and a
// cancelled context mean that a write may have happened all the same (ambiguous), the others that it has not.
func apiError(verb, key string, err error) error {
	var known apierrors.APIStatus
	if err == nil || errors.As(err, &known) {
		return err
	}
	text := fmt.Sprintf("cannot %s %s: %v", verb, key, err)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("cannot %s %s: %w", verb, key, err)
	// etcd is told the deadline and may see it pass before ctx does.
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded,
		errors.Is(err, rpctypes.ErrTimeout), errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail),
		errors.Is(err, rpctypes.ErrTimeoutDueToConnectionLost), errors.Is(err, rpctypes.ErrTimeoutWaitAppliedIndex),
		errors.Is(err, rpctypes.ErrLeaderChanged), errors.Is(err, rpctypes.ErrStopped):
		return apierrors.NewTimeoutError(text, retrySeconds)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return apierrors.NewRequestEntityTooLargeError(text)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return withCode(http.StatusInsufficientStorage, metav1.StatusReasonInternalError,
			text+": delete objects or raise the quota of etcd")
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return apierrors.NewTooManyRequests(text, retrySeconds)
	case errors.Is(err, rpctypes.ErrCorrupt):
		return apierrors.NewInternalError(errors.New(text))
	case errors.Is(err, rpctypes.ErrCompacted):
		return apierrors.NewResourceExpired(listExpired)
	}
	return unavailable(text)
}

// ambiguous says of an error of etcd that the write may have happened.
func ambiguous(err error) bool {
	return errors.Is(err, context.Canceled) || apierrors.IsTimeout(apiError("", "", err)) ||
		apierrors.IsServiceUnavailable(apiError("", "", err))
}

func unavailable(text string) error {
	e := withCode(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, text)
	e.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: retrySeconds}
	return e
}

func withCode(code int32, reason metav1.StatusReason, text string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: text,
	}}
}

// tooLarge is the answer to a resourceVersion from the future.
func tooLarge(asked, have int64) error {
	e := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, have), retrySeconds)
	e.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return e
}

func stopped() error { return unavailable("the store has stopped") }
