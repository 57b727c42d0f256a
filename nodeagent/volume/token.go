package volume

import (
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// maxTokenAge bounds how long a token is used: it is renewed when a fifth of its life is left, or after a day.
const maxTokenAge = 24 * time.Hour

// tokenKey is what a pod asks a token for. Its service account never changes.
type tokenKey struct {
	audience string
	seconds  int64
}

// heldToken is a token that a pod has. It serves every writing of the pod's files until it is to be renewed, by this
// host's clock.
type heldToken struct {
	value             string
	renewAt, expireAt time.Time
}

func (c *content) token(p *corev1.ServiceAccountTokenProjection, mode fs.FileMode) error {
	key := tokenKey{audience: p.Audience, seconds: 3600}
	if p.ExpirationSeconds != nil {
		key.seconds = *p.ExpirationSeconds
	}
	held, err := c.hold(key)
	if err != nil {
		return err
	}
	if c.refreshAt.IsZero() || held.renewAt.Before(c.refreshAt) {
		c.refreshAt = held.renewAt
	}
	// A token is for its own process where that is known. The user that an image names is not: it reads what all may read.
	owner := onlyUser(c.pod)
	if owner != nil || fsGroup(c.pod) != nil {
		mode = 0o600
	}
	if err := c.put(p.Path, []byte(held.value), nil, mode); err != nil {
		return err
	}
	name := filepath.Clean(p.Path)
	f := c.files[name]
	f.owner = owner
	c.files[name] = f
	return nil
}

// hold returns the pod's token, a new one when it is time. One that cannot be renewed is used as long as it lives.
func (c *content) hold(key tokenKey) (heldToken, error) {
	held, asked := c.tokens[key], time.Now()
	if asked.Before(held.renewAt) {
		return held, nil
	}
	value, life, err := c.source.Token(c.ctx, c.pod, key.audience, key.seconds)
	if err != nil {
		err = &WaitError{Volume: c.volume, Kind: "ServiceAccount", Namespace: c.pod.Namespace, Name: c.pod.Spec.ServiceAccountName, Err: err}
		if asked.Before(held.expireAt) {
			c.late = err
			return held, nil
		}
		return heldToken{}, err
	}
	held = heldToken{value: value, renewAt: asked.Add(min(life*4/5, maxTokenAge)), expireAt: asked.Add(life)}
	c.tokens[key] = held
	return held, nil
}

// onlyUser returns the user that all containers of the pod are to run as; nil when they differ, or one does not say.
func onlyUser(pod *corev1.Pod) *int64 {
	var user *int64
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		var own *int64
		if s := pod.Spec.SecurityContext; s != nil {
			own = s.RunAsUser
		}
		if s := c.SecurityContext; s != nil && s.RunAsUser != nil {
			own = s.RunAsUser
		}
		if own == nil || user != nil && *user != *own {
			return nil
		}
		user = own
	}
	return user
}
