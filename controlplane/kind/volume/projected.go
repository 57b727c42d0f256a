package volume

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// The volumes of this file are of files that are made from other objects.

func validateSecretVolume(s *corev1.SecretVolumeSource, path *field.Path) field.ErrorList {
	errs := validate.Required(s.SecretName, path.Child("secretName"))
	errs = append(errs, validateMode(s.DefaultMode, path.Child("defaultMode"))...)
	return append(errs, validateKeyPaths(s.Items, path.Child("items"))...)
}

func validateConfigMapVolume(c *corev1.ConfigMapVolumeSource, path *field.Path) field.ErrorList {
	errs := validate.Required(c.Name, path.Child("name"))
	errs = append(errs, validateMode(c.DefaultMode, path.Child("defaultMode"))...)
	return append(errs, validateKeyPaths(c.Items, path.Child("items"))...)
}

func validateDownwardVolume(d *corev1.DownwardAPIVolumeSource, path *field.Path) field.ErrorList {
	errs := validateMode(d.DefaultMode, path.Child("defaultMode"))
	for i := range d.Items {
		errs = append(errs, validateDownwardFile(&d.Items[i], path)...)
	}
	return errs
}

const maxFileMode = 0o777

func validateMode(mode *int32, path *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > maxFileMode) {
		return field.ErrorList{field.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func validateKeyPaths(items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		errs = append(errs, validateKeyPath(&items[i], path.Index(i))...)
	}
	return errs
}

func validateKeyPath(item *corev1.KeyToPath, path *field.Path) field.ErrorList {
	errs := validate.Required(item.Key, path.Child("key"))
	errs = append(errs, validate.Required(item.Path, path.Child("path"))...)
	errs = append(errs, localFile(item.Path, path.Child("path"))...)
	return append(errs, validateMode(item.Mode, path.Child("mode"))...)
}

// localFile accepts the relative path of a file that a volume makes; ".." is how its versions are told apart.
func localFile(p string, path *field.Path) field.ErrorList {
	errs := validate.LocalPath(p, path)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		errs = append(errs, field.Invalid(path, p, "must not start with '..'"))
	}
	return errs
}

// validateDownwardFile checks a file of a downward API volume; kube-apiserver gives its fields the path of the volume.
func validateDownwardFile(f *corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	errs := validate.Required(f.Path, path.Child("path"))
	errs = append(errs, localFile(f.Path, path.Child("path"))...)
	switch {
	case f.FieldRef != nil:
		errs = append(errs, validate.FieldRef(f.FieldRef, validate.VolumeFields, path.Child("fieldRef"))...)
		if f.ResourceFieldRef != nil {
			errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case f.ResourceFieldRef != nil:
		errs = append(errs, validate.ResourceFieldRef(f.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
	default:
		errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
	}
	return append(errs, validateMode(f.Mode, path.Child("mode"))...)
}

// projection checks the sources of a projected volume, which must not make the same file.
type projection struct {
	path  *field.Path // of the volume
	files map[string]bool
	errs  field.ErrorList
}

// file takes a file for a source that is called name.
func (p *projection) file(file, name string) {
	if p.files[file] {
		p.errs = append(p.errs, field.Invalid(p.path, name, "conflicting duplicate paths"))
	}
	p.files[file] = true
}

func (p *projection) add(errs field.ErrorList) { p.errs = append(p.errs, errs...) }

func validateProjected(v *corev1.ProjectedVolumeSource, e Exempt, path *field.Path) field.ErrorList {
	p := &projection{path: path, files: map[string]bool{}, errs: validateMode(v.DefaultMode, path.Child("defaultMode"))}
	for i := range v.Sources {
		s, at := &v.Sources[i], path.Child("sources").Index(i)
		n := 0
		if s.Secret != nil {
			n++
			p.keys(s.Secret.Name, s.Secret.Items, at.Child("secret"))
		}
		if s.ConfigMap != nil {
			n++
			p.keys(s.ConfigMap.Name, s.ConfigMap.Items, at.Child("configMap"))
		}
		if s.DownwardAPI != nil {
			n++
			for j := range s.DownwardAPI.Items {
				f := &s.DownwardAPI.Items[j]
				p.add(validateDownwardFile(f, at.Child("downwardAPI")))
				if f.Path != "" {
					p.file(f.Path, f.Path)
				}
			}
		}
		if s.ServiceAccountToken != nil {
			n++
			p.token(s.ServiceAccountToken, e, at.Child("serviceAccountToken"))
		}
		if s.ClusterTrustBundle != nil {
			n++
			p.trust(s.ClusterTrustBundle, at.Child("clusterTrustBundle"))
		}
		if s.PodCertificate != nil {
			n++
			p.certificate(s.PodCertificate, at.Child("podCertificate"))
		}
		if n > 1 {
			p.errs = append(p.errs, field.Forbidden(at, "may not specify more than 1 volume type per source"))
		}
	}
	return p.errs
}

func (p *projection) keys(name string, items []corev1.KeyToPath, path *field.Path) {
	p.add(validate.Required(name, path.Child("name")))
	for i := range items {
		p.add(validateKeyPath(&items[i], path.Child("items").Index(i)))
		if items[i].Path != "" {
			p.file(items[i].Path, name)
		}
	}
}

// Bounds of the life of a projected token.
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
)

func (p *projection) token(t *corev1.ServiceAccountTokenProjection, e Exempt, path *field.Path) {
	at := path.Child("expirationSeconds")
	seconds := ptr.Deref(t.ExpirationSeconds, serviceAccountTokenSeconds)
	if seconds < minTokenSeconds {
		p.errs = append(p.errs, field.Invalid(at, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > maxTokenSeconds {
		p.errs = append(p.errs, field.Invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if t.Path == "" {
		p.errs = append(p.errs, field.Required(p.path.Child("path"), ""))
	} else if !e.tokenPath {
		p.add(localFile(t.Path, p.path.Child("path")))
	}
}

func (p *projection) trust(t *corev1.ClusterTrustBundleProjection, path *field.Path) {
	switch {
	case t.Name != nil && t.SignerName != nil:
		p.errs = append(p.errs, field.Invalid(path, t, "only one of name and signerName may be used"))
	case t.Name != nil:
		if *t.Name == "" {
			p.errs = append(p.errs, field.Required(path.Child("name"), "must be a valid object name"))
		}
		for _, message := range trustBundleName(*t.Name) {
			p.errs = append(p.errs, field.Invalid(path.Child("name"), *t.Name, "not a valid clustertrustbundlename: "+message))
		}
		if t.LabelSelector != nil {
			p.errs = append(p.errs, field.Invalid(path.Child("labelSelector"), t.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case t.SignerName != nil:
		at := path.Child("signerName")
		if *t.SignerName == "" {
			p.errs = append(p.errs, field.Required(at, "must be a valid signer name"))
		}
		p.add(validate.SignerName(*t.SignerName, at))
		p.add(validate.Selector(t.LabelSelector, path.Child("labelSelector")))
	default:
		p.errs = append(p.errs, field.Required(path, "either name or signerName must be specified"))
	}
	p.add(validate.Required(t.Path, path.Child("path")))
	p.add(localFile(t.Path, path.Child("path")))
	p.file(t.Path, t.Path)
}

// trustBundleName returns what is wrong with the name of a ClusterTrustBundle: SIGNER:NAME, where / in the signer's is a colon too, or NAME.
func trustBundleName(name string) []string {
	if strings.LastIndex(name, ":") == 0 {
		return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
	}
	return apivalidation.NameIsDNSSubdomain(name[strings.LastIndex(name, ":")+1:], false)
}

// keyTypes are the sorts of keys that a pod's certificate can be for.
var keyTypes = []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}

// Bounds of the life of a pod's certificate.
const (
	minPodCertificate    = 3600
	maxPodCertificate    = 91 * 24 * 60 * 60
	maxOwnPodCertificate = 24 * 60 * 60 // of a signer of Kubernetes
)

func (p *projection) certificate(c *corev1.PodCertificateProjection, path *field.Path) {
	p.add(validate.SignerName(c.SignerName, path.Child("signerName")))
	for key := range c.UserAnnotations {
		p.add(validation.IsDomainPrefixedKey(path.Child("userAnnotations"), strings.ToLower(key)))
	}
	if apivalidation.ValidateAnnotationsSize(c.UserAnnotations) != nil {
		p.errs = append(p.errs, field.TooLong(path.Child("userAnnotations"), "", apivalidation.TotalAnnotationSizeLimitB))
	}
	p.add(validate.Supported(c.KeyType, path.Child("keyType"), keyTypes...))
	if s := c.MaxExpirationSeconds; s != nil {
		at := path.Child("maxExpirationSeconds")
		if *s < minPodCertificate {
			p.errs = append(p.errs, field.Invalid(at, *s, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", minPodCertificate)))
		}
		most := int32(maxPodCertificate)
		if domain, _, _ := strings.Cut(c.SignerName, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
			most = maxOwnPodCertificate
		}
		if *s > most {
			p.errs = append(p.errs, field.Invalid(at, *s, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most)))
		}
	}
	files := 0
	file := func(name, at string) {
		if name != "" {
			files++
			p.add(localFile(name, path.Child(at)))
			p.file(name, name)
		}
	}
	file(c.CredentialBundlePath, "credentialBundlePath")
	file(c.KeyPath, "keyPath")
	file(c.CertificateChainPath, "certificateChainPath")
	if files == 0 {
		p.errs = append(p.errs, field.Required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
}

// ForbidTokens refuses tokens for a pod that has no service account.
func ForbidTokens(volumes []corev1.Volume, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range volumes {
		if volumes[i].Projected == nil {
			continue
		}
		for j, s := range volumes[i].Projected.Sources {
			if s.ServiceAccountToken != nil {
				errs = append(errs, field.Forbidden(path.Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"), "must not be specified when serviceAccountName is not set"))
			}
		}
	}
	return errs
}
