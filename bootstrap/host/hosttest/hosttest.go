// Package hosttest has what hosts of tests answer to bootstrap's scripts.
package hosttest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

const facts = `time=%d
uid=0
hostname=%s
os=Linux
kernel=6.1.0
machine=x86_64
memory.kib=4000000
cgroup=2
cgroup.controllers=cpu memory pids
init=systemd
packages=apt-get
disk=1 10485760 20971520 0 0 /var/lib/fairlead
address=eth0 %s/24
source=%[3]s
tool=containerd 1
tool=runc 1
tool=nft 1
tool=conntrack 1
tool=flock 1
`

// Facts are those of a host that is fit to be a node, with what it needs installed.
func Facts(name, address string) string { return fmt.Sprintf(facts, time.Now().Unix(), name, address) }

// HoldLock answers, as an ssh.FakeHandler, for a host that nobody else changes, until the lock is released.
func HoldLock(_ context.Context, c ssh.Command) (string, string, int, error) {
	_, err := io.WriteString(c.Stdout, "held\n")
	if err == nil {
		_, err = io.Copy(io.Discard, c.Stdin)
	}
	return "", "", 0, err
}
