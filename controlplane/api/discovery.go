package api

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"

	discoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }

// discovery answers what the server serves. All answers are made once for each state of the table of kinds.
type discovery struct {
	number     int64             // of the table
	groups     []metav1.APIGroup // "" first
	resources  map[schema.GroupVersion]*metav1.APIResourceList
	aggregated map[string][]discoveryv2.APIGroupDiscovery // "api" and "apis"
	hash       map[string]string
}

var kindVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// discover returns the current discovery.
func (s *Server) discover() *discovery {
	d := s.discovery.Load()
	if d == nil || d.number != s.kinds.Number() {
		d = newDiscovery(s.kinds)
		s.discovery.Store(d)
	}
	return d
}

func newDiscovery(kinds *kind.Table) *discovery {
	d := &discovery{
		number:     kinds.Number(),
		resources:  map[schema.GroupVersion]*metav1.APIResourceList{},
		aggregated: map[string][]discoveryv2.APIGroupDiscovery{},
		hash:       map[string]string{},
	}
	var order []schema.GroupVersion
	list := func(gv schema.GroupVersion) *metav1.APIResourceList {
		if d.resources[gv] == nil {
			order = append(order, gv)
			d.resources[gv] = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList"}, GroupVersion: gv.String()}
			if gv.Group != "" { // the core's has none since it was the only one
				d.resources[gv].APIVersion = "v1"
			}
		}
		return d.resources[gv]
	}
	custom := map[schema.GroupVersion]bool{}
	for _, k := range kinds.Served() {
		l := list(k.GroupVersion())
		l.APIResources = append(l.APIResources, resourcesOf(k)...)
		custom[k.GroupVersion()] = custom[k.GroupVersion()] || k.Custom
	}
	for gvr, v := range virtuals {
		l := list(gvr.GroupVersion())
		l.APIResources = append(l.APIResources, metav1.APIResource{
			Name: gvr.Resource, SingularName: strings.ToLower(v.kind.Kind), Namespaced: v.namespaced, Kind: v.kind.Kind, Verbs: []string{"create"},
		})
	}
	for _, l := range d.resources {
		sort.Slice(l.APIResources, func(i, j int) bool { return l.APIResources[i].Name < l.APIResources[j].Name })
	}
	sort.SliceStable(order, func(i, j int) bool {
		if a, b := groupRank(order[i]), groupRank(order[j]); a != b {
			return a < b
		}
		// a newer version of a group comes before an older one, a stable before one that is not
		return version.CompareKubeAwareVersionStrings(order[i].Version, order[j].Version) > 0
	})
	for _, gv := range order {
		d.addGroup(gv, custom[gv])
	}
	for of, groups := range d.aggregated {
		data, err := json.Marshal(groups)
		if err != nil {
			panic(err) // the types are Kubernetes' own
		}
		d.hash[of] = fmt.Sprintf("%X", sha512.Sum512(data))
	}
	return d
}

// groupRank sorts the core group first, then Kubernetes' order of priority, then by name.
func groupRank(gv schema.GroupVersion) string {
	order := []string{"", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
		"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
		"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io"}
	i := slices.Index(order, gv.Group)
	if i < 0 {
		i = len(order)
	}
	return fmt.Sprintf("%02d/%s", i, gv.Group)
}

// resourcesOf returns the resource of a kind and its subresources.
func resourcesOf(k *kind.Kind) []metav1.APIResource {
	singular := k.Singular
	if singular == "" {
		singular = strings.ToLower(k.Kind)
	}
	out := []metav1.APIResource{{
		Name: k.Plural, SingularName: singular, Namespaced: k.Namespaced, Kind: k.Kind, Verbs: verbsOf(k),
		ShortNames: k.ShortNames, Categories: k.Categories, StorageVersionHash: storageHash(k.StoredKind().GroupVersionKind),
	}}
	if k.GroupKind() == definitionKind {
		out[0].StorageVersionHash = storageHash(definitionKind.WithVersion("v1beta1")) // in which kube-apiserver stores them still
	}
	for name, e := range subresources {
		if !e.serves(k) {
			continue
		}
		r := metav1.APIResource{Name: k.Plural + "/" + name, Namespaced: k.Namespaced, Kind: k.Kind, Verbs: e.verbs}
		if gvk := e.kindOf(k); gvk.Kind != "" {
			r.Kind = gvk.Kind
			if gvk.GroupVersion() != k.GroupVersion() {
				r.Group, r.Version = gvk.Group, gvk.Version
			}
		}
		out = append(out, r)
	}
	return out
}

var definitionKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// verbsOf leaves out what a namespace can not: all of them do not go at once.
func verbsOf(k *kind.Kind) []string {
	if k.GroupResource() == (schema.GroupResource{Resource: "namespaces"}) {
		return slices.DeleteFunc(slices.Clone(kindVerbs), func(v string) bool { return v == "deletecollection" })
	}
	return kindVerbs
}

// storageHash is that of kube-apiserver, so that what a client remembers of a kind holds for both.
func storageHash(gvk schema.GroupVersionKind) string {
	sum := sha256.Sum256([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64Std(sum[:8])
}

func (d *discovery) addGroup(gv schema.GroupVersion, custom bool) {
	this := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
	aggregated := discoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: discoveryv2.DiscoveryFreshnessCurrent, Resources: aggregatedOf(d.resources[gv])}
	if custom {
		sayVersion(aggregated.Resources, gv)
	}
	of := "apis"
	if gv.Group == "" {
		of = "api"
	}
	for i := range d.groups {
		if d.groups[i].Name == gv.Group {
			d.groups[i].Versions = append(d.groups[i].Versions, this)
			for j := range d.aggregated[of] {
				if d.aggregated[of][j].Name == gv.Group {
					d.aggregated[of][j].Versions = append(d.aggregated[of][j].Versions, aggregated)
				}
			}
			return
		}
	}
	d.groups = append(d.groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{this}, PreferredVersion: this})
	d.aggregated[of] = append(d.aggregated[of], discoveryv2.APIGroupDiscovery{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Group}, Versions: []discoveryv2.APIVersionDiscovery{aggregated}})
}

// aggregatedOf nests subresources in their resources, as aggregated discovery has it (KEP-3352).
func aggregatedOf(list *metav1.APIResourceList) []discoveryv2.APIResourceDiscovery {
	var out []discoveryv2.APIResourceDiscovery
	for _, r := range list.APIResources {
		// empty is that of the list
		responds := &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
		if parent, name, ok := strings.Cut(r.Name, "/"); ok {
			for i := range out {
				if out[i].Resource == parent {
					out[i].Subresources = append(out[i].Subresources, discoveryv2.APISubresourceDiscovery{Subresource: name, ResponseKind: responds, Verbs: r.Verbs})
				}
			}
			continue
		}
		scope := discoveryv2.ScopeCluster
		if r.Namespaced {
			scope = discoveryv2.ScopeNamespace
		}
		out = append(out, discoveryv2.APIResourceDiscovery{Resource: r.Name, ResponseKind: responds, Scope: scope,
			SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories})
	}
	return out
}

// sayVersion names the group and version of what kinds of custom resources answer with, which those of others leave to the list.
func sayVersion(resources []discoveryv2.APIResourceDiscovery, gv schema.GroupVersion) {
	say := func(kind *metav1.GroupVersionKind) {
		if kind.Version == "" {
			kind.Group, kind.Version = gv.Group, gv.Version
		}
	}
	for _, r := range resources {
		say(r.ResponseKind)
		for _, s := range r.Subresources {
			say(s.ResponseKind)
		}
	}
}

// serve answers /api, /apis and what is below them.
func (d *discovery) serve(s *Server, w http.ResponseWriter, r *request, path string) error {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) == 1 {
		return d.serveRoot(s, w, r, parts[0])
	}
	if parts[0] == "api" && len(parts) == 2 {
		return d.serveResources(s, w, r, schema.GroupVersion{Version: parts[1]})
	}
	if parts[0] == "apis" && len(parts) == 3 {
		return d.serveResources(s, w, r, schema.GroupVersion{Group: parts[1], Version: parts[2]})
	}
	if parts[0] == "apis" && len(parts) == 2 {
		for _, g := range d.groups {
			if g.Name == parts[1] && g.Name != "" {
				g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
				s.answer(w, r, http.StatusOK, &g)
				return nil
			}
		}
	}
	return errPathNotFound
}

func (d *discovery) serveResources(s *Server, w http.ResponseWriter, r *request, gv schema.GroupVersion) error {
	l := d.resources[gv]
	if l == nil {
		r.group = gv.Group
		return r.nothing()
	}
	if r.Method != http.MethodGet {
		return errMethod(r)
	}
	s.answer(w, r, http.StatusOK, l)
	return nil
}

func (d *discovery) serveRoot(s *Server, w http.ResponseWriter, r *request, of string) error {
	for _, m := range alternatives(r.Header.Get("Accept")) {
		if m.profile == "APIGroupDiscoveryList" && (m.version == "v2" || m.version == "v2beta1") && m.encoding == asJSON {
			d.serveAggregated(s, w, r, of, m.version)
			return nil
		}
		if m.profile == "" {
			break
		}
	}
	if of == "api" {
		s.answer(w, r, http.StatusOK, &metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}},
		})
		return nil
	}
	l := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for _, g := range d.groups {
		if g.Name != "" {
			l.Groups = append(l.Groups, g)
		}
	}
	s.answer(w, r, http.StatusOK, l)
	return nil
}

func (d *discovery) serveAggregated(s *Server, w http.ResponseWriter, r *request, of, version string) {
	h := w.Header()
	tag := `"` + d.hash[of] + `"`
	h.Set("ETag", tag)
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	l := &discoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/" + version}, Items: d.aggregated[of]}
	data, err := json.Marshal(l)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	s.writeTyped(w, r, typeJSON+";g=apidiscovery.k8s.io;v="+version+";as=APIGroupDiscoveryList", data)
}
