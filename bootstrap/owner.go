package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/host"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
)

// Owner is the resource that a host is of, as it is written there before anything else is changed. Nothing in it is secret.
//
// Terraform tells a provider neither what a resource is called, nor whether what a creation ended with got into state, and
// a run may die at any moment. So a mark alone can not tell a host that nobody's state has from one that is another
// configuration's. A host whose installation has not come to its end may be taken by anybody: who began it has no use of
// it, and the next apply goes on. Where it has, a new resource with the same address in the same folder is taken for the
// one that was there, whose state was lost or which has got another name; any other is refused.
type Owner struct {
	// ID is the resource's own, by chance; the zero Owner is nobody, and takes and leaves any host as it is.
	ID string `json:"id"`
	// Host is the address that the resource has.
	Host string `json:"host"`
	// Folder is where its configuration is applied.
	Folder string `json:"folder"`
	// By is who applied it, on which machine.
	By string `json:"by"`
	// Since is when the host became the resource's.
	Since time.Time `json:"since"`
	// Done says that its installation came to its end.
	Done bool `json:"done"`
	// Adopts says that the resource was imported: what is there is meant.
	Adopts bool `json:"-"`
}

// ownerFile is on a host as long as anything of ours is.
const ownerFile = etcDir + "/owner"

// mayTake says whether a host that is of another may become of this.
func (o *Owner) mayTake(is *Owner) bool {
	return o.ID == "" || !is.Done || o.ID == is.ID || o.Adopts || o.Host == is.Host && o.Folder == is.Folder
}

// Lost says whether the host is of another resource than this, which had it.
func (o *Owner) Lost(is *Owner) bool { return o.ID != "" && is.ID != "" && o.ID != is.ID && !o.Adopts }

// Check refuses a host that is of another (*PreflightError), before a change of what is there.
func (o *Owner) Check(ctx context.Context, c ssh.Conn) error {
	is, err := Inspect(ctx, c)
	if err == nil && !o.mayTake(&is.Owner) {
		err = &PreflightError{[]host.Failure{o.owned(c.Host(), is)}}
	}
	return err
}

// String is the owner in messages.
func (o *Owner) String() string {
	return fmt.Sprintf("a resource with the address %s, since %s; %s applied it in %s", o.Host, o.Since.UTC().Format(time.DateTime)+" UTC", o.By, o.Folder)
}

// owned is a host that another resource has.
func (o *Owner) owned(name string, was *Installed) host.Failure {
	fix := "import it here and forget it there (terraform state rm), or destroy it there first; or where nobody has its state any more, " + byHand
	if o.Folder == was.Owner.Folder {
		fix = "it has two addresses in this configuration, or had another one: leave one of the resources out; or where nobody has its state any more, " + byHand
	}
	return host.Failure{Host: name, Check: "owner", Found: "it is " + was.Place() + " and of " + was.Owner.String(), Fix: fix}
}

// mark writes down whose the host is: first that it is being installed, and then that this is done.
func (w *work) mark(done bool) phase {
	is := w.installed.Owner
	return phase{
		name: "mark the host", timeout: checkTimeout,
		done: func(context.Context) (bool, error) {
			return w.owner.ID == "" || is.ID == w.owner.ID && is.Host == w.owner.Host && (is.Done || !done), nil
		},
		do: func(ctx context.Context) error {
			o := w.owner
			o.Done = done || is.Done && is.ID == o.ID
			if o.Since = time.Now().UTC().Truncate(time.Second); is.ID == o.ID {
				o.Since = is.Since
			}
			text, err := json.Marshal(o)
			if err != nil {
				return err
			}
			w.installed.Owner = o
			return w.conn.Upload(ctx, strings.NewReader(string(text)+"\n"), ownerFile, 0o600)
		},
	}
}
