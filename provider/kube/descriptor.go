package kube

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Descriptor says of a kind what its Go type does not. Paths are Terraform paths such as "spec.cluster_ip" and
// "spec.ports[*].node_port". A Descriptor is not changed once it was given to Resource.
type Descriptor struct {
	// Object is an empty object of the kind, of a type that client-go's scheme knows. Its group, version and kind
	// come from there; the resource's name is the kind's, its plural the usual one.
	Object runtime.Object
	// Namespaced is whether objects live in a namespace.
	Namespaced bool
	// Description is the resource's documentation, one or two sentences.
	Description string

	// Required and Optional correct what the type's tags say about a path.
	Required, Optional []string
	// Omit names paths that make no attribute because a client can not set them in this way.
	Omit []string
	// Filled names paths that the server fills in when the configuration does not.
	Filled []Filled
	// Defaults are values that the provider sets at plan when the configuration does not.
	Defaults []Default
	// Immutable names paths whose change replaces the object; name and namespace always do.
	Immutable []string
	// Frozen names paths whose change replaces the object once it says of itself that it is immutable. Of write-only
	// values the version is meant.
	Frozen []string
	// Sensitive names paths that are not shown.
	Sensitive []string
	// WriteOnly replaces maps of bytes at the top of the object by write-only attributes.
	WriteOnly []WriteOnly

	// NameRule returns what is wrong with an object's name; nil means the rule of DNS subdomains.
	NameRule func(name string) []string
	// ClusterRule returns what is wrong with the id of a cluster; nil means that any id may be one.
	ClusterRule func(id string) []string
	// Validate adds checks over several attributes; unknown values must pass.
	Validate func(v *Validation)

	// Wait returns when the object, as it was just applied, does what it is for. Its error is best a *Failure.
	// The context ends at the operation's timeout. Nil means that there is nothing to wait for.
	Wait func(ctx context.Context, client *Client, object *unstructured.Unstructured) error
	// ExplainDelete says what holds up a deletion that did not end in time; may be nil.
	ExplainDelete func(object *unstructured.Unstructured) string
	// Abandoned says what is left of a deletion that the cluster can not end for now, such as pods of a node that is
	// dead: the deletion counts as done then, with a warning. It is empty while there is something to wait for; may be nil.
	Abandoned func(ctx context.Context, client *Client, object *unstructured.Unstructured) (string, error)
	// Propagation is how dependents are deleted; empty means in the background.
	Propagation metav1.DeletionPropagation
	// Timeout is how long a create, an update and a delete may each take by default; zero means DefaultTimeout.
	Timeout time.Duration
	// StripDefaults removes from a live object what the server would set by itself and the table of defaults can not
	// know. It is used by import.
	StripDefaults func(object map[string]any)
}

// DefaultTimeout is how long a create, update or delete may take when nothing else is said.
const DefaultTimeout = 10 * time.Minute

// Filled is a path that the server fills in.
type Filled struct {
	Path string
	// Depends names paths whose change may change the server's choice.
	Depends []string
	// Never reports that the server leaves the field empty under this configuration, so that a plan
	// need not call it unknown. May be nil.
	Never func(config View) bool
}

// Default is a value that the provider computes at plan for a path that is not configured.
type Default struct {
	Path string
	// Value returns a value of type typ: unknown when it can not be computed yet, null to leave the path out. Prior
	// is the object's state, null when the object is new.
	Value func(typ tftypes.Type, config, prior View) tftypes.Value
}

// WriteOnly replaces the top-level field Field, a map of bytes, by attributes that are never in a plan or state.
type WriteOnly struct {
	Field string
	// Text and Base64 name the attributes with values as plain text and as base64.
	Text, Base64 string
	// Version names the attribute whose change sends the values again.
	Version string
}

// Failure is an error that is ready to be shown: one line, and what to know and do about it.
type Failure struct {
	Summary, Detail string
}

// Error returns both parts.
func (f *Failure) Error() string { return f.Summary + ": " + f.Detail }
