package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

// tokenLife covers what is between making a token and the agent's start, and a run that is repeated at once.
const tokenLife = 15 * time.Minute

// JoinNode makes the host a node of the cluster that control is a control-plane host of; it returns when the
// node is Ready. Run twice with the same input, the second changes nothing. Only the host is locked, not control, which
// many hosts join at once.
func JoinNode(ctx context.Context, control, host ssh.Conn, cluster Cluster, n Node, bin Binary, p Progress) (*Installed, error) {
	return lockedInstall(ctx, host, "join a node", func(ctx context.Context) (*Installed, error) {
		return joinNode(ctx, control, host, cluster, n, bin, p)
	})
}

func joinNode(ctx context.Context, control, host ssh.Conn, cluster Cluster, n Node, bin Binary, p Progress) (*Installed, error) {
	t := newTarget(host, p)
	if err := t.run(ctx, t.preflight(cluster, bin, Target{Role: RoleAgent, Node: n})); err != nil {
		return t.installed, err
	}
	j := &joining{work: &work{target: t, role: RoleAgent, bin: bin, owner: n.Owner}, control: control, name: nodeName(n, t.facts)}
	if err := t.run(ctx, j.meet(cluster, n)); err != nil {
		return t.installed, err
	}
	defer j.api.close()
	err := j.provide(ctx)
	if err == nil {
		err = t.run(ctx, j.containerd(true), j.configuration(), j.token(), j.service())
	}
	if err == nil {
		err = j.nodeHealth(ctx, control, j.name)
	}
	if err == nil {
		err = t.run(ctx, j.mark(true))
	}
	return t.finish(ctx, err)
}

// joining is the work on a worker.
type joining struct {
	*work
	control ssh.Conn
	name    string
	api     *clusterAPI
}

// meet asks the control plane for what the worker has to know, and looks whether the worker fits in.
func (j *joining) meet(cluster Cluster, n Node) phase {
	return phase{name: "ask the control plane at " + j.control.Host(), timeout: checkTimeout, do: func(ctx context.Context) error {
		server, err := inspect(ctx, j.control)
		if err != nil {
			return err
		}
		switch {
		case !server.Present || server.Role != RoleServer:
			return fmt.Errorf("%s is no control-plane host", j.control.Host())
		case cluster.Name != "" && server.Cluster != cluster.Name:
			return fmt.Errorf("%s is of cluster %q, not %q", j.control.Host(), server.Cluster, cluster.Name)
		}
		url, err := serverURL(server)
		if err != nil {
			return fmt.Errorf("cannot use control plane %s: %w", j.control.Host(), err)
		}
		address, err := nodeAddress(n, j.conn, j.facts)
		if err != nil {
			return err
		}
		api, cred, err := openCluster(ctx, j.control)
		if err != nil {
			return err
		}
		j.api = api
		if err := j.fits(ctx, cred.CA, address); err != nil {
			api.close()
			return err
		}
		return j.prepare(cluster, n, server.Cluster, url, address, cred.CA)
	}}
}

// fits refuses a host that is of another cluster, and a name that another host has.
func (j *joining) fits(ctx context.Context, ca []byte, address string) error {
	if j.installed.otherCA(ca) {
		return &PreflightError{[]host.Failure{elsewhere(j.conn.Host(), j.installed, ", which is another one of that name")}}
	}
	node, err := j.api.node(ctx, j.name)
	if err != nil {
		return err
	}
	if j.heartbeat, err = j.api.heartbeat(ctx, j.name); err != nil {
		return err
	}
	if node == nil {
		j.restart = true // an agent that runs already, of a node that was taken out, joins by a new start only
		return nil
	}
	if j.installed.Present && j.installed.NodeName == j.name {
		return nil
	}
	ready := readyCondition(node)
	if ready == nil || ready.Status != corev1.ConditionTrue {
		return nil // a host that was installed anew takes its place again
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && a.Address != address {
			return &PreflightError{[]host.Failure{duplicateName(j.conn.Host(), j.name, "a ready node at "+a.Address+" has it")}}
		}
	}
	return nil
}

// prepare renders the worker's files.
func (j *joining) prepare(cluster Cluster, n Node, clusterName, url, address string, ca []byte) error {
	cfg := agentConfig(cluster, n, j.facts, address)
	cfg.Servers, cfg.CAFile, cfg.TokenFile = []string{url}, caFile, tokenFile
	text, err := config.Marshal(cfg)
	if err != nil {
		return err
	}
	j.files = []file{
		{caFile, strings.TrimSpace(string(ca)) + "\n", 0o644},
		{clusterFile, clusterName + "\n", 0o644},
		{config.AgentFile, string(text), 0o600},
	}
	return nil
}

// token gives the worker a join token, unless it has joined already. A token is good once and for minutes, so one
// that lies there from an earlier run is replaced.
func (j *joining) token() phase {
	return phase{
		name: "make a join token", timeout: checkTimeout,
		done: func(ctx context.Context) (bool, error) {
			out, err := j.conn.Run(ctx, ssh.Command{
				Line: "find " + config.DefaultAgentDir + " -name client.pem 2>/dev/null | head -n 1", Sudo: true,
			})
			return len(bytes.TrimSpace(out.Stdout)) > 0, err
		},
		do: func(ctx context.Context) error {
			line := fmt.Sprintf("%s token create --node %s --ttl %s", config.BinaryPath, ssh.Quote(j.name), tokenLife)
			out, err := j.control.Run(ctx, ssh.Command{Line: line, Sudo: true})
			if err != nil {
				return err
			}
			token := strings.TrimSpace(string(out.Stdout))
			if token == "" || strings.ContainsAny(token, " \n") {
				return errors.New("the control plane printed no token")
			}
			j.restart = true
			return j.conn.Upload(ctx, strings.NewReader(token+"\n"), tokenFile, 0o600)
		},
	}
}
