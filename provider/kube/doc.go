// Package kube turns a Kubernetes API type into a Terraform resource.
//
// A kind is a Descriptor: its Go type, its scope, and the few things that the type does not say, such as which
// fields the server fills in, which can not be changed, and how to wait. Everything else is derived from the type
// once, when it is first needed:
//
//   - derive.go walks the Go type into a tree of nodes; the markers of server-side apply (which lists have keys,
//     which values are atomic) come from the same schema that the API server merges by;
//   - schema.go makes the Terraform schema of the tree;
//   - encode.go turns a configuration into the object to apply, decode.go an object into a state, overlay.go lays
//     live values over the fields that the configuration owns: all three walk the same tree, so that a field can not
//     be in one and missing in another;
//   - validate.go checks offline, on the attribute, what the API would refuse;
//   - plan.go keeps computed values known, so that a plan shows what changes and nothing else;
//   - resource.go is the resource: server-side apply with field manager "terraform".
//
// A state holds what is configured, overlaid with what the server has now for those same fields. What the server
// defaults and what another manager owns is not in it, so drift of owned fields shows and nothing else does.
package kube
