package admission

import (
	"context"

	k8sauthorizer "k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// authorizer is the server's, as the variable "authorizer" of expressions asks it.
type authorizer struct{ allowed Authorizer }

func (a authorizer) Authorize(ctx context.Context, at k8sauthorizer.Attributes) (k8sauthorizer.Decision, string, error) {
	u := at.GetUser()
	if a.allowed == nil || u == nil {
		return k8sauthorizer.DecisionNoOpinion, "", nil
	}
	if a.allowed(ctx, authz.Attributes{
		User: &kind.User{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()},
		Verb: at.GetVerb(), Path: at.GetPath(), IsResource: at.IsResourceRequest(),
		Group: at.GetAPIGroup(), Version: at.GetAPIVersion(), Resource: at.GetResource(), Subresource: at.GetSubresource(),
		Namespace: at.GetNamespace(), Name: at.GetName(),
	}) {
		return k8sauthorizer.DecisionAllow, "", nil
	}
	return k8sauthorizer.DecisionNoOpinion, "", nil
}
