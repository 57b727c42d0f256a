package kind

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

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
