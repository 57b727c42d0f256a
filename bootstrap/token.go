package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// OpenToken has the control-plane host make a bearer token for user with groups, which expires after ttl unless
// RenewToken puts that off. The host's server must run.
func OpenToken(ctx context.Context, control ssh.Conn, user string, groups []string, ttl time.Duration) (*Token, error) {
	line := config.BinaryPath + " credential open --user " + ssh.Quote(user)
	for _, g := range groups {
		line += " --group " + ssh.Quote(g)
	}
	t, err := credentialCommand(ctx, control, line+" --ttl "+ttl.String())
	if err == nil && (t.ID == "" || t.Token == "" || len(t.CA) == 0 || t.Server == "") {
		err = errors.New("the host's answer has no token")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get a token for %q from %s: %w", user, control.Host(), err)
	}
	return t, nil
}

// RenewToken makes a token good for ttl from now on, as far as its end allows, and returns when it expires. One that
// has expired or was revoked can not be renewed.
func RenewToken(ctx context.Context, control ssh.Conn, id string, ttl time.Duration) (time.Time, error) {
	t, err := credentialCommand(ctx, control, config.BinaryPath+" credential renew "+ssh.Quote(id)+" --ttl "+ttl.String())
	if err == nil && t.Expires.IsZero() {
		err = errors.New("the host's answer has no expiry")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot renew token %s at %s: %w", id, control.Host(), err)
	}
	return t.Expires, nil
}

// RevokeToken ends a token. One that is not there is no error.
func RevokeToken(ctx context.Context, control ssh.Conn, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
	defer cancel()
	_, err := control.Run(ctx, ssh.Command{Line: config.BinaryPath + " credential revoke " + ssh.Quote(id), Sudo: true})
	if err != nil {
		return fmt.Errorf("cannot revoke token %s at %s: %w", id, control.Host(), err)
	}
	return nil
}

// credentialCommand runs a command that prints a token, or a part of one, as JSON.
func credentialCommand(ctx context.Context, control ssh.Conn, line string) (*Token, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
	defer cancel()
	out, err := control.Run(ctx, ssh.Command{Line: line, Sudo: true})
	if err != nil {
		return nil, err
	}
	var answer struct {
		ID, Token, CA, Server string
		Expires               time.Time
	}
	if err := json.Unmarshal(out.Stdout, &answer); err != nil {
		return nil, errors.New("the host's answer is no JSON") // the cause would quote it
	}
	return &Token{ID: answer.ID, Token: answer.Token, CA: []byte(answer.CA), Server: answer.Server, Expires: answer.Expires}, nil
}
