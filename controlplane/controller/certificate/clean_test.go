package certificate

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestGoesAt(t *testing.T) {
	created := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	decided := created.Add(5 * time.Hour)
	condition := func(t certificatesv1.RequestConditionType) certificatesv1.CertificateSigningRequestCondition {
		return certificatesv1.CertificateSigningRequestCondition{Type: t, Status: "True", LastUpdateTime: metav1.NewTime(decided)}
	}
	for name, tc := range map[string]struct {
		status certificatesv1.CertificateSigningRequestStatus
		want   time.Time
	}{
		"pending":  {want: created.Add(24 * time.Hour)},
		"denied":   {certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{condition("Denied")}}, decided.Add(time.Hour)},
		"failed":   {certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{condition("Approved"), condition("Failed")}}, decided.Add(time.Hour)},
		"approved": {certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{condition("Approved")}}, created.Add(maxLife)},
		"issued": {certificatesv1.CertificateSigningRequestStatus{Certificate: []byte("x"),
			Conditions: []certificatesv1.CertificateSigningRequestCondition{condition("Approved")}}, decided.Add(time.Hour)},
		"noted": {certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{condition("Seen")}}, created.Add(24 * time.Hour)},
	} {
		r := &request{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created)}, Status: tc.status}
		if got := goesAt(r); !got.Equal(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
