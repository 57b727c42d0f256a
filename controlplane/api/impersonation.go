package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/authz"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// impersonations are the ways in which a sender may be let act as somebody else, tried in this order: those of constrained
// impersonation first, which take the right to be that user and the right to do just this as such a user, and the plain
// right to impersonate last.
var impersonations = []impersonation{
	{mode: "associated-node", fits: func(by, as *kind.User) bool {
		node, ok := nodeUserName(as.Name)
		_, _, account := serviceAccountName(by.Name)
		on := by.Extra[extraNodeName]
		return ok && onlyNamed(as) && account && len(on) == 1 && on[0] == node
	}},
	{mode: "arbitrary-node", fits: func(_, as *kind.User) bool {
		_, ok := nodeUserName(as.Name)
		return ok && onlyNamed(as)
	}},
	{mode: "serviceaccount", fits: func(_, as *kind.User) bool {
		_, _, ok := serviceAccountName(as.Name)
		return ok && onlyNamed(as)
	}},
	{mode: "user-info", fits: func(_, as *kind.User) bool {
		_, node := nodeUserName(as.Name)
		_, _, account := serviceAccountName(as.Name)
		return !node && !account
	}},
	{fits: func(_, _ *kind.User) bool { return true }},
}

// rememberedImpersonators is of how many senders it is remembered how they could act as somebody else.
const rememberedImpersonators = 10_000

// manyThings is of how many groups or extra values at once it is asked first whether the sender may have any.
const manyThings = 4

// impersonate replaces the user when the request asks for it and the sender may.
func (s *Server) impersonate(r *request) error {
	as, err := impersonated(r.Header)
	if err != nil || as == nil {
		return err
	}
	way := impersonations[len(impersonations)-1]
	if !s.config.AllowAll {
		if way, err = s.mayImpersonate(r, as); err != nil {
			return err
		}
	}
	r.actor, r.constraint = r.user, way.constraint()
	r.user = way.complete(as)
	return nil
}

// impersonated reads whom the headers name, and takes them away: nothing further on is to depend on them. It is nil when
// they name nobody.
func impersonated(h http.Header) (*kind.User, error) {
	as := &kind.User{
		Name: h.Get(authenticationv1.ImpersonateUserHeader), UID: h.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: h.Values(authenticationv1.ImpersonateGroupHeader),
	}
	for name, values := range h {
		encoded, ok := strings.CutPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		key := strings.ToLower(encoded)
		if decoded, err := url.PathUnescape(key); err == nil {
			key = decoded
		}
		if as.Extra == nil {
			as.Extra = map[string][]string{}
		}
		as.Extra[key] = append(as.Extra[key], values...)
	}
	switch {
	case as.Name != "":
	case !onlyNamed(as):
		return nil, apierrors.NewBadRequest(fmt.Sprintf("requested %#v without impersonating a user name", &user.DefaultInfo{UID: as.UID, Groups: as.Groups, Extra: as.Extra}))
	default:
		return nil, nil
	}
	h.Del(authenticationv1.ImpersonateUserHeader)
	h.Del(authenticationv1.ImpersonateUIDHeader)
	h.Del(authenticationv1.ImpersonateGroupHeader)
	for name := range h {
		if strings.HasPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix) {
			h.Del(name)
		}
	}
	return as, nil
}

// mayImpersonate returns the way in which the sender may act as somebody else. The one by which that sender could last time
// comes first, also in what is said when there is none.
func (s *Server) mayImpersonate(r *request, as *kind.User) (impersonation, error) {
	order := impersonations
	if mode, ok := s.impersonators.Get(r.user.Name); ok {
		i := slices.IndexFunc(impersonations, func(i impersonation) bool { return i.mode == mode })
		order = slices.Concat(impersonations[i:i+1], impersonations[:i], impersonations[i+1:])
	}
	var first error
	for _, way := range order {
		if !way.fits(r.user, as) {
			continue
		}
		err := way.check(func(at authz.Attributes) error {
			if ok, reason := s.authz.Allowed(r.Context(), at); !ok {
				return forbidden(at, reason)
			}
			return nil
		}, r.attributes(r.user), as)
		if err == nil {
			s.impersonators.Add(r.user.Name, way.mode)
			return way, nil
		}
		if first == nil {
			first = err
		}
	}
	return impersonation{}, first
}

// impersonation is one of the ways.
type impersonation struct {
	mode string // of constrained impersonation; empty is the plain right
	fits func(by, as *kind.User) bool
}

func (i impersonation) constrained() bool { return i.mode != "" }

// constraint is what the audit log says of it.
func (i impersonation) constraint() string {
	if !i.constrained() {
		return ""
	}
	return i.verb()
}

func (i impersonation) verb() string {
	if !i.constrained() {
		return "impersonate"
	}
	return "impersonate:" + i.mode
}

// check asks for each thing that is needed; at is what the request does.
func (i impersonation) check(ask func(authz.Attributes) error, at authz.Attributes, as *kind.User) error {
	if i.constrained() {
		on := at
		on.Verb = "impersonate-on:" + i.mode + ":" + at.Verb
		if err := ask(on); err != nil {
			return err
		}
	}
	named := authz.Attributes{User: at.User, Verb: i.verb(), IsResource: true}
	more := named
	more.Group, more.Version = authenticationv1.GroupName, "v1"
	if i.constrained() {
		named = more
	} else {
		named.Version = "v1"
	}
	if err := ask(i.name(named, as.Name)); err != nil {
		return err
	}
	if as.UID != "" {
		uid := more
		uid.Resource, uid.Name = "uids", as.UID
		if err := ask(uid); err != nil {
			return err
		}
	}
	named.Resource = "groups"
	if err := i.groups(ask, named, as.Groups); err != nil {
		return err
	}
	more.Resource = "userextras"
	return i.extra(ask, more, as.Extra)
}

// name returns at for the name of a user.
func (i impersonation) name(at authz.Attributes, name string) authz.Attributes {
	at.Resource, at.Name = "users", name
	if namespace, account, ok := serviceAccountName(name); ok {
		at.Resource, at.Namespace, at.Name = "serviceaccounts", namespace, account
	}
	if node, ok := nodeUserName(name); ok && i.constrained() {
		at.Resource, at.Name = "nodes", node
		if i.mode == "associated-node" {
			at.Name = "*" // which one it is follows from the sender
		}
	}
	return at
}

func (i impersonation) groups(ask func(authz.Attributes) error, at authz.Attributes, groups []string) error {
	if i.constrained() {
		switch {
		case slices.Contains(groups, ""):
			return forbidden(at, "impersonating the empty string group is not allowed")
		case slices.Contains(groups, groupMasters):
			at.Name = groupMasters
			return forbidden(at, "impersonating the system:masters group is not allowed")
		case len(groups) >= manyThings:
			at.Name = "*"
			if ask(at) == nil {
				return nil
			}
		}
	}
	for _, g := range groups {
		at.Name = g
		if err := ask(at); err != nil {
			return err
		}
	}
	return nil
}

func (i impersonation) extra(ask func(authz.Attributes) error, at authz.Attributes, extra map[string][]string) error {
	if i.constrained() {
		if err := validExtra(extra); err != nil {
			return forbidden(at, err.Error())
		}
		count := 0
		for _, values := range extra {
			count += len(values)
		}
		if count >= manyThings {
			at.Subresource, at.Name = "*", "*"
			if ask(at) == nil {
				return nil
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		at.Subresource = key
		for _, value := range extra[key] {
			at.Name = value
			if err := ask(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// validExtra says what of it only the plain right to impersonate allows.
func validExtra(extra map[string][]string) error {
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		if key == "" {
			return errors.New("impersonating the empty string key in extra is not allowed")
		}
		if err := validation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key).ToAggregate(); err != nil {
			return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", err)
		}
		if key != strings.ToLower(key) {
			return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", key)
		}
		if slices.Contains(extra[key], "") {
			return errors.New("impersonating the empty string value in extra is not allowed")
		}
	}
	return nil
}

// complete returns the user with the groups that follow from the name.
func (i impersonation) complete(as *kind.User) *kind.User {
	out := *as
	out.Groups = slices.Clone(as.Groups)
	if _, ok := nodeUserName(as.Name); ok && i.constrained() {
		out.Groups = []string{groupNodes}
	}
	if namespace, _, ok := serviceAccountName(as.Name); ok && len(as.Groups) == 0 {
		out.Groups = serviceAccountGroups(namespace)
	}
	implied := groupAuthenticated
	if as.Name == userAnonymous || slices.Contains(out.Groups, groupUnauthenticated) {
		implied = groupUnauthenticated
	}
	if !slices.Contains(out.Groups, implied) {
		out.Groups = append(out.Groups, implied)
	}
	return &out
}

func onlyNamed(u *kind.User) bool { return u.UID == "" && len(u.Groups) == 0 && len(u.Extra) == 0 }

// nodeUserName splits the user name of a node.
func nodeUserName(name string) (string, bool) {
	name, ok := strings.CutPrefix(name, "system:node:")
	return name, ok && len(validation.IsDNS1123Subdomain(name)) == 0
}
