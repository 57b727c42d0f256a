package volume

import (
	corev1 "k8s.io/api/core/v1"
)

// Exempt says which rules about volumes an update is not held to, since the stored object breaks them already.
type Exempt struct {
	tokenPath      bool // a projected token outside of its volume
	emptyReference bool // a volume of no image
}

// Exemptions returns what an update of a pod's old volumes is not held to.
func Exemptions(old []corev1.Volume) Exempt {
	var e Exempt
	for i := range old {
		v := &old[i]
		e.emptyReference = e.emptyReference || v.Image != nil && v.Image.Reference == ""
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			e.tokenPath = e.tokenPath || s.ServiceAccountToken != nil && len(localFile(s.ServiceAccountToken.Path, nil)) > 0
		}
	}
	return e
}
