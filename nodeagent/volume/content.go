package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/downward"
)

// content builds the files of one volume with API contents.
type content struct {
	ctx    context.Context
	source Source
	pod    *corev1.Pod
	volume string
	alloc  corev1.ResourceList
	tokens map[tokenKey]heldToken // the pod's

	files map[string]file
	// refreshAt is when a token among the files is to be renewed; zero: none is.
	refreshAt time.Time
	late      error // why a token among the files could not be renewed when it was time
}

func (c *content) configMap(name string, items []corev1.KeyToPath, optional *bool, mode fs.FileMode) error {
	cm, err := c.source.ConfigMap(c.ctx, c.pod.Namespace, name)
	if skip, err := c.missing(err, "ConfigMap", name, optional); skip || err != nil {
		return err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		data[k] = v
	}
	return c.add("ConfigMap", name, data, items, optional, mode)
}

func (c *content) secret(name string, items []corev1.KeyToPath, optional *bool, mode fs.FileMode) error {
	s, err := c.source.Secret(c.ctx, c.pod.Namespace, name)
	if skip, err := c.missing(err, "Secret", name, optional); skip || err != nil {
		return err
	}
	return c.add("Secret", name, s.Data, items, optional, mode)
}

func (c *content) missing(err error, kind, name string, optional *bool) (skip bool, _ error) {
	if err == nil {
		return false, nil
	}
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return true, nil
	}
	return false, &WaitError{Volume: c.volume, Kind: kind, Namespace: c.pod.Namespace, Name: name, Err: err}
}

func (c *content) add(kind, name string, data map[string][]byte, items []corev1.KeyToPath, optional *bool, mode fs.FileMode) error {
	if len(items) == 0 {
		for k, v := range data {
			if err := c.put(k, v, nil, mode); err != nil {
				return err
			}
		}
		return nil
	}
	for _, it := range items {
		v, ok := data[it.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return &WaitError{Volume: c.volume, Kind: kind, Namespace: c.pod.Namespace, Name: name, Err: fmt.Errorf("it has no key %q", it.Key)}
		}
		if err := c.put(it.Path, v, it.Mode, mode); err != nil {
			return err
		}
	}
	return nil
}

// put adds a file; a path that would leave the volume is refused, whatever validation said before.
func (c *content) put(path string, data []byte, own *int32, mode fs.FileMode) error {
	if !filepath.IsLocal(path) || strings.HasPrefix(path, "..") {
		return fmt.Errorf("cannot write volume %s: path %q leads out of it", c.volume, path)
	}
	if own != nil {
		mode = fs.FileMode(*own)
	}
	c.files[filepath.Clean(path)] = file{data: data, mode: mode.Perm()}
	return nil
}

func (c *content) downward(items []corev1.DownwardAPIVolumeFile, mode fs.FileMode) error {
	for _, it := range items {
		var value string
		var err error
		switch {
		case it.FieldRef != nil:
			value, err = downward.FromStatus(c.pod, c.alloc).Field(it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			value, err = c.resource(it.ResourceFieldRef)
		default:
			err = errors.New("it has neither fieldRef nor resourceFieldRef")
		}
		if err != nil {
			return fmt.Errorf("cannot write %s of volume %s: %w", it.Path, c.volume, err)
		}
		if err := c.put(it.Path, []byte(value), it.Mode, mode); err != nil {
			return err
		}
	}
	return nil
}

func (c *content) resource(ref *corev1.ResourceFieldSelector) (string, error) {
	for _, containers := range [][]corev1.Container{c.pod.Spec.Containers, c.pod.Spec.InitContainers} {
		for i := range containers {
			if containers[i].Name == ref.ContainerName {
				return downward.FromStatus(c.pod, c.alloc).Resource(&containers[i], ref)
			}
		}
	}
	return "", fmt.Errorf("the pod has no container %q", ref.ContainerName)
}

func (c *content) projected(p *corev1.ProjectedVolumeSource) error {
	mode := modeOf(p.DefaultMode)
	for _, s := range p.Sources {
		var err error
		switch {
		case s.ConfigMap != nil:
			err = c.configMap(s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, mode)
		case s.Secret != nil:
			err = c.secret(s.Secret.Name, s.Secret.Items, s.Secret.Optional, mode)
		case s.DownwardAPI != nil:
			err = c.downward(s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			err = c.token(s.ServiceAccountToken, mode)
		default:
			err = fmt.Errorf("cannot set up volume %s: this projection is none of configMap, secret, downwardAPI and serviceAccountToken", c.volume)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func modeOf(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m).Perm()
}
