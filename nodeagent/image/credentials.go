package image

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// login is a name and password for the images that its host and path match, as kubelets match them.
type login struct {
	host               string // NAME[:PORT], the parts of NAME may be globs
	path               string // "", or what the image's begins with, from its slash on
	username, password string
}

func (l login) key() string { return l.host + l.path }

// credentials reads the logins of pull secrets, the most particular first, those for the same images in the order of
// the secrets. A secret that can not be read is an error, as it may be the one that is needed.
func credentials(secrets []corev1.Secret) ([]login, error) {
	var out []login
	for i := range secrets {
		entries, err := authEntries(&secrets[i])
		for _, pattern := range slices.Sorted(maps.Keys(entries)) {
			if err != nil {
				break
			}
			var l login
			if l, err = entries[pattern].login(pattern); err == nil {
				out = append(out, l)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read pull secret %s: %w", secrets[i].Name, err)
		}
	}
	slices.SortStableFunc(out, func(a, b login) int { return cmp.Compare(b.key(), a.key()) })
	return out, nil
}

func authEntries(s *corev1.Secret) (entries map[string]authEntry, err error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]authEntry `json:"auths"`
		}
		if data := s.Data[corev1.DockerConfigJsonKey]; len(data) > 0 {
			err = json.Unmarshal(data, &file)
		}
		return file.Auths, err
	case corev1.SecretTypeDockercfg:
		if data := s.Data[corev1.DockerConfigKey]; len(data) > 0 {
			err = json.Unmarshal(data, &entries)
		}
	}
	return entries, err
}

type authEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"` // base64 of NAME:PASSWORD, with or without padding; counts before the two
	IdentityToken string `json:"identitytoken"`
}

func (e authEntry) login(pattern string) (login, error) {
	l := login{username: e.Username, password: e.Password}
	l.host, l.path = splitPattern(pattern)
	if e.Auth != "" {
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(e.Auth), "="))
		user, pass, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok {
			return login{}, fmt.Errorf("auth of %q is not base64 of NAME:PASSWORD", pattern)
		}
		l.username, l.password = user, strings.TrimRight(pass, "\x00")
	}
	if e.IdentityToken != "" { // sent as a refresh token, which has no name
		l.username, l.password = "", e.IdentityToken
	}
	return l, nil
}

// splitPattern reads [SCHEME://]HOST[/PATH]. The API's versions, which the addresses of registries had once, are no
// part of a path.
func splitPattern(p string) (host, path string) {
	p = strings.TrimPrefix(strings.TrimPrefix(p, "https://"), "http://")
	host, rest, ok := strings.Cut(p, "/")
	if !ok {
		return host, ""
	}
	rest = "/" + rest
	if strings.HasPrefix(rest, "/v1/") || strings.HasPrefix(rest, "/v2/") {
		rest = rest[len("/v1"):]
	}
	if rest == "/" {
		rest = ""
	}
	return host, rest
}

// Docker Hub's two names: images have the first, files that docker login wrote the second.
const (
	hubDomain = "docker.io"
	hubIndex  = "index.docker.io"
)

// matching returns the logins for an image, the most particular first.
func matching(logins []login, name string) []login {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil
	}
	host, repo := reference.Domain(named), "/"+reference.Path(named)
	var out, hub []login
	for _, l := range logins {
		if hostMatches(l.host, host) && strings.HasPrefix(repo, l.path) {
			out = append(out, l)
		}
		if l.key() == hubIndex {
			hub = append(hub, l)
		}
	}
	if len(out) == 0 && host == hubDomain {
		return hub
	}
	return out
}

// hostMatches compares host names part by part; a part of the pattern may be a glob, which stands for one part. Ports
// are the same or there are none.
func hostMatches(pattern, host string) bool {
	patternName, patternPort := splitPort(pattern)
	hostName, hostPort := splitPort(host)
	pp, hp := strings.Split(patternName, "."), strings.Split(hostName, ".")
	if patternPort != hostPort || len(pp) != len(hp) {
		return false
	}
	for i := range pp {
		if ok, err := path.Match(pp[i], hp[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func splitPort(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name, port
	}
	return host, ""
}
