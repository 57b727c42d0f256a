package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// IssueCredential makes a key here, has the control-plane host sign it for user with groups, and returns both.
// The key never leaves this process. The host must be a control plane; its server need not run.
func IssueCredential(ctx context.Context, control ssh.Conn, user string, groups []string, ttl time.Duration) (*Credential, error) {
	cred, err := issueCredential(ctx, control, user, groups, ttl)
	if err != nil {
		return nil, fmt.Errorf("cannot get a client certificate for %q from %s: %w", user, control.Host(), err)
	}
	return cred, nil
}

func issueCredential(ctx context.Context, control ssh.Conn, user string, groups []string, ttl time.Duration) (*Credential, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
	defer cancel()
	key, err := certs.NewKey()
	if err != nil {
		return nil, err
	}
	request, err := certs.NewRequest(key, user)
	if err != nil {
		return nil, err
	}
	line := config.BinaryPath + " credential sign --user " + ssh.Quote(user)
	for _, g := range groups {
		line += " --group " + ssh.Quote(g)
	}
	line += " --ttl " + ttl.String()
	out, err := control.Run(ctx, ssh.Command{Line: line, Stdin: strings.NewReader(string(request)), Sudo: true})
	if err != nil {
		return nil, err
	}
	keyPEM, err := certs.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return parseCredential(out.Stdout, keyPEM)
}

// parseCredential reads what `fairlead credential sign` prints.
func parseCredential(out, key []byte) (*Credential, error) {
	var answer struct {
		CA, Certificate, Server string
		Expires                 time.Time
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("the host's answer is no JSON: %w", err)
	}
	if answer.CA == "" || answer.Certificate == "" {
		return nil, errors.New("the host's answer has no certificate")
	}
	u, err := url.Parse(answer.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the host's answer has no usable server address: %q", answer.Server)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return &Credential{
		CA: []byte(answer.CA), Certificate: []byte(answer.Certificate), Key: key,
		Server: answer.Server, APIAddress: net.JoinHostPort("127.0.0.1", port), Expires: answer.Expires,
	}, nil
}
