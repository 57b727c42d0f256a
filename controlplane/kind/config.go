package kind

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxDataSize is how many bytes of values one ConfigMap or Secret may hold.
const maxDataSize = corev1.MaxSecretSize

func configMapKind() *Kind {
	docs := corev1.ConfigMap{}.SwaggerDoc()
	return definition[*corev1.ConfigMap]{
		gv: corev1.SchemeGroupVersion, kind: "ConfigMap", plural: "configmaps", singular: "configmap", short: []string{"cm"}, namespaced: true,
		new:            func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		list:           func() runtime.Object { return &corev1.ConfigMapList{} },
		validate:       validateConfigMap,
		validateUpdate: validateConfigMapUpdate,
		columns:        []metav1.TableColumnDefinition{nameColumn(), column("Data", "string", docs["data"]), ageColumn()},
		row: func(cm *corev1.ConfigMap, now time.Time) []any {
			return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), age(cm, now)}
		},
	}.build()
}

func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	total := 0
	data, binary := field.NewPath("data"), field.NewPath("binaryData")
	for key, value := range cm.Data {
		errs = append(errs, invalidEach(data.Key(key), key, validation.IsConfigMapKey(key))...)
		if _, both := cm.BinaryData[key]; both {
			errs = append(errs, field.Invalid(data.Key(key), key, "duplicate of key present in binaryData"))
		}
		total += len(value)
	}
	for key, value := range cm.BinaryData {
		errs = append(errs, invalidEach(binary.Key(key), key, validation.IsConfigMapKey(key))...)
		total += len(value)
	}
	if total > maxDataSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "" /* the value is too long to be shown */, maxDataSize))
	}
	return errs
}

func validateConfigMapUpdate(cm, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	if !deref(old.Immutable, false) {
		return nil
	}
	const why = "field is immutable when `immutable` is set"
	if !deref(cm.Immutable, false) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
	}
	if !maps.Equal(cm.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), why))
	}
	if !reflect.DeepEqual(cm.BinaryData, old.BinaryData) && (len(cm.BinaryData) > 0 || len(old.BinaryData) > 0) {
		errs = append(errs, field.Forbidden(field.NewPath("binaryData"), why))
	}
	return errs
}

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
	emptyTo(&s.Type, corev1.SecretTypeOpaque)
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
		errs = append(errs, invalidEach(path.Key(key), key, validation.IsConfigMapKey(key))...)
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
	errs := immutable(s.Type, old.Type, field.NewPath("type"))
	if !deref(old.Immutable, false) {
		return errs
	}
	const why = "field is immutable when `immutable` is set"
	if !deref(s.Immutable, false) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
	}
	if !apiequality.Semantic.DeepEqual(s.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), why))
	}
	return errs
}

func serviceAccountKind() *Kind {
	return definition[*corev1.ServiceAccount]{
		gv: corev1.SchemeGroupVersion, kind: "ServiceAccount", plural: "serviceaccounts", singular: "serviceaccount", short: []string{"sa"}, namespaced: true,
		new:  func() *corev1.ServiceAccount { return &corev1.ServiceAccount{} },
		list: func() runtime.Object { return &corev1.ServiceAccountList{} },
		// of a secret only the name means something, in the account's own namespace
		prepareCreate: cleanSecretReferences,
		prepareUpdate: func(sa, _ *corev1.ServiceAccount) { cleanSecretReferences(sa) },
		validate:      none[*corev1.ServiceAccount],
		warnings:      serviceAccountWarnings,
		columns:       []metav1.TableColumnDefinition{nameColumn(), ageColumn()},
		row:           func(sa *corev1.ServiceAccount, now time.Time) []any { return []any{sa.Name, age(sa, now)} },
	}.build()
}

func cleanSecretReferences(sa *corev1.ServiceAccount) {
	for i, s := range sa.Secrets {
		sa.Secrets[i] = corev1.ObjectReference{Name: s.Name}
	}
}

// serviceAccountWarnings tells who newly asks that pods mount the account's secrets only.
func serviceAccountWarnings(sa, old *corev1.ServiceAccount) []string {
	const enforce = "kubernetes.io/enforce-mountable-secrets"
	if old != nil {
		if _, had := old.Annotations[enforce]; had {
			return nil
		}
	}
	if _, ok := sa.Annotations[enforce]; !ok {
		return nil
	}
	return []string{"metadata.annotations[" + enforce + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
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

// invalidEach makes an error of each message about one value.
func invalidEach(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

// immutable refuses any change of a value.
func immutable(value, old any, path *field.Path) field.ErrorList {
	if apiequality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "field is immutable").WithOrigin("immutable")}
}

// nonNegative refuses values below zero.
func nonNegative[N int32 | int64](value N, path *field.Path) field.ErrorList {
	if value >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than or equal to 0").WithOrigin("minimum")}
}

// oneOf refuses what is not among the values; the empty value is required unless it is one of them.
func oneOf[S ~string](value S, path *field.Path, values ...S) field.ErrorList {
	for _, v := range values {
		if value == v {
			return nil
		}
	}
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return field.ErrorList{field.NotSupported(path, value, values)}
}

// positive refuses zero and less.
func positive[N int32 | int64](value N, path *field.Path) field.ErrorList {
	if value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than zero")}
}
