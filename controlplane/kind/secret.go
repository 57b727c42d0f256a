package kind

import (
	"crypto/tls"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/defaults"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

func secretKind() *Kind {
	docs := corev1.Secret{}.SwaggerDoc()
	return definition[*corev1.Secret]{
		gv: corev1.SchemeGroupVersion, kind: "Secret", plural: "secrets", singular: "secret", namespaced: true,
		new:            func() *corev1.Secret { return &corev1.Secret{} },
		list:           func() runtime.Object { return &corev1.SecretList{} },
		defaults:       defaultSecret,
		prepareUpdate:  prepareSecretUpdate,
		validate:       validateSecret,
		validateUpdate: validateSecretUpdate,
		warnings:       func(s, _ *corev1.Secret) []string { return secretWarnings(s) },
		fields:         func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
		columns: []metav1.TableColumnDefinition{
			nameColumn(), column("Type", "string", docs["type"]), column("Data", "string", docs["data"]), ageColumn(),
		},
		row: func(s *corev1.Secret, now time.Time) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s, now)}
		},
	}.build()
}

func defaultSecret(s *corev1.Secret) {
	// stringData is a convenience of writing: what is stored and read is data
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
	defaults.Value(&s.Type, corev1.SecretTypeOpaque)
}

func prepareSecretUpdate(s, old *corev1.Secret) {
	// an update that leaves the type out keeps it, so that a client need not know it
	if s.Type == "" {
		s.Type = old.Type
	}
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("data")
	total := 0
	for key, value := range s.Data {
		errs = append(errs, validate.Each(path.Key(key), key, validation.IsConfigMapKey(key))...)
		total += len(value)
	}
	if total > maxDataSize {
		errs = append(errs, field.TooLong(path, "" /* the value is secret */, maxDataSize))
	}
	return append(errs, validateSecretType(s, path)...)
}

// validateSecretType checks that a secret of a known type has the keys of that type.
func validateSecretType(s *corev1.Secret, path *field.Path) field.ErrorList {
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		annotations := field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey)
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			return field.ErrorList{field.Required(annotations, "")}
		}
	case corev1.SecretTypeDockercfg:
		return requireJSON(s, path, corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		return requireJSON(s, path, corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			return field.ErrorList{
				field.Required(path.Key(corev1.BasicAuthUsernameKey), ""), field.Required(path.Key(corev1.BasicAuthPasswordKey), ""),
			}
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			return field.ErrorList{field.Required(path.Key(corev1.SSHAuthPrivateKey), "")}
		}
	case corev1.SecretTypeTLS:
		var errs field.ErrorList
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if !has(key) {
				errs = append(errs, field.Required(path.Key(key), ""))
			}
		}
		return errs
	}
	return nil
}

func requireJSON(s *corev1.Secret, path *field.Path, key string) field.ErrorList {
	value, ok := s.Data[key]
	if !ok {
		return field.ErrorList{field.Required(path.Key(key), "")}
	}
	if err := json.Unmarshal(value, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(path.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	errs := validate.Immutable(s.Type, old.Type, field.NewPath("type"))
	if !ptr.Deref(old.Immutable, false) {
		return errs
	}
	const why = "field is immutable when `immutable` is set"
	if !ptr.Deref(s.Immutable, false) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
	}
	if !apiequality.Semantic.DeepEqual(s.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), why))
	}
	return errs
}

// secretWarnings tells of a certificate and a key that are none or do not fit.
func secretWarnings(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
