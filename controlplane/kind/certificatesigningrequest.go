package kind

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind/validate"
)

// minCertificateSeconds is the shortest life that a certificate request may ask for.
const minCertificateSeconds = 600

func certificateRequestKind() *Kind {
	// kube-apiserver describes the columns by the fields of v1beta1
	spec, status := certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc(), certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()
	k := definition[*certificatesv1.CertificateSigningRequest]{
		gv: certificatesv1.SchemeGroupVersion, kind: "CertificateSigningRequest", plural: "certificatesigningrequests",
		singular: "certificatesigningrequest", short: []string{"csr"},
		new:       func() *certificatesv1.CertificateSigningRequest { return &certificatesv1.CertificateSigningRequest{} },
		list:      func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		validName: validate.PathSegmentName,
		prepareCreate: func(r *certificatesv1.CertificateSigningRequest) {
			r.Status = certificatesv1.CertificateSigningRequestStatus{}
		},
		requestor: setRequestor,
		prepareUpdate: func(r, old *certificatesv1.CertificateSigningRequest) {
			r.Spec, r.Status = old.Spec, old.Status
		},
		validate: validateCertificateRequest,
		status: &statusRules[*certificatesv1.CertificateSigningRequest]{
			prepareUpdate: func(r, old *certificatesv1.CertificateSigningRequest) {
				r.Spec = old.Spec
				keepDecisions(r, old)
				stampConditions(r, old)
			},
			validate: validateRequestStatus,
			unowned:  Paths("spec", "status.conditions"),
		},
		approval: &statusRules[*certificatesv1.CertificateSigningRequest]{
			unowned: Paths("spec", "status.certificate"),
			prepareUpdate: func(r, old *certificatesv1.CertificateSigningRequest) {
				r.Spec, r.Status.Certificate = old.Spec, old.Status.Certificate
				stampConditions(r, old)
			},
			validate: func(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
				return append(validateRequestConditions(r.Status.Conditions), keptConditions(r, old)...)
			},
		},
		fields: func(r *certificatesv1.CertificateSigningRequest) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName}
		},
		columns: []metav1.TableColumnDefinition{
			nameColumn(), ageColumn(), column("SignerName", "string", spec["signerName"]), column("Requestor", "string", spec["request"]),
			column("RequestedDuration", "string", spec["expirationSeconds"]), column("Condition", "string", status["conditions"]),
		},
		row: func(r *certificatesv1.CertificateSigningRequest, now time.Time) []any {
			life := noneText
			if s := r.Spec.ExpirationSeconds; s != nil {
				life = duration.HumanDuration(time.Duration(*s) * time.Second)
			}
			return []any{r.Name, age(r, now), r.Spec.SignerName, r.Spec.Username, life, requestCondition(&r.Status)}
		},
	}.build()
	k.Unowned = Paths("spec") // it never changes
	return k
}

// setRequestor records who asks: approval and signing trust these fields.
func setRequestor(r *certificatesv1.CertificateSigningRequest, u *User) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	if u == nil {
		return
	}
	r.Spec.Username, r.Spec.UID, r.Spec.Groups = u.Name, u.UID, u.Groups
	for key, values := range u.Extra {
		if r.Spec.Extra == nil {
			r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		r.Spec.Extra[key] = values
	}
}

// keepDecisions restores what was decided, but for what was added or removed, which is refused.
func keepDecisions(r, old *certificatesv1.CertificateSigningRequest) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		was := conditionsOf(old, t)
		if len(was) != len(conditionsOf(r, t)) {
			continue
		}
		for i := range r.Status.Conditions {
			if r.Status.Conditions[i].Type == t {
				r.Status.Conditions[i], was = was[0], was[1:]
			}
		}
	}
}

// stampConditions fills in the times that a client left out.
func stampConditions(r, old *certificatesv1.CertificateSigningRequest) {
	now := metav1.Now().Rfc3339Copy()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range old.Status.Conditions {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
				break
			}
		}
	}
}

func requestCondition(s *certificatesv1.CertificateSigningRequestStatus) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range s.Conditions {
		has[c.Type] = true
	}
	text := "Pending"
	switch {
	case has[certificatesv1.CertificateDenied]:
		text = "Denied"
	case has[certificatesv1.CertificateApproved]:
		text = "Approved"
	}
	if has[certificatesv1.CertificateFailed] {
		text += ",Failed"
	}
	if len(s.Certificate) > 0 {
		text += ",Issued"
	}
	return text
}

// ParseCertificateRequest decodes the PEM of a request's spec.
func ParseCertificateRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// keyUsages are all that a request may ask for.
var keyUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
	certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
}

func validateCertificateRequest(r *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	parsed, err := ParseCertificateRequest(r.Spec.Request)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		errs = append(errs, field.Invalid(path.Child("request"), r.Spec.Request, err.Error()))
	}
	if len(r.Spec.Usages) == 0 {
		errs = append(errs, field.Required(path.Child("usages"), ""))
	}
	for i, u := range r.Spec.Usages {
		if !slices.Contains(keyUsages, u) {
			errs = append(errs, field.NotSupported(path.Child("usages").Index(i), u, keyUsages))
		}
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for i, u := range r.Spec.Usages {
		if seen[u] {
			errs = append(errs, field.Duplicate(path.Child("usages").Index(i), u))
		}
		seen[u] = true
	}
	errs = append(errs, validateSignerName(r.Spec.SignerName, path.Child("signerName"))...)
	if s := r.Spec.ExpirationSeconds; s != nil && *s < minCertificateSeconds {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return append(errs, validateRequestConditions(r.Status.Conditions)...)
}

// legacySigner was for the beta of this API, which signed whatever it was given.
const legacySigner = "kubernetes.io/legacy-unknown"

// validateSignerName checks the signer of a request of this version.
func validateSignerName(name string, path *field.Path) field.ErrorList {
	if name == legacySigner {
		return field.ErrorList{field.Invalid(path, name, "the legacy signerName is not allowed via this API version")}
	}
	return validate.SignerName(name, path)
}

func validateRequestConditions(conditions []certificatesv1.CertificateSigningRequestCondition) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status", "conditions")
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range conditions {
		at := path.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			errs = append(errs, validate.OneOf(c.Status, at.Child("status"), corev1.ConditionTrue)...)
		default:
			errs = append(errs, validate.OneOf(c.Status, at.Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
		}
		if c.Type == certificatesv1.CertificateApproved && seen[certificatesv1.CertificateDenied] ||
			c.Type == certificatesv1.CertificateDenied && seen[certificatesv1.CertificateApproved] {
			errs = append(errs, field.Invalid(at.Child("type"), c.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		if seen[c.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), c.Type))
		}
		seen[c.Type] = true
	}
	return errs
}

func conditionsOf(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, c := range r.Status.Conditions {
		if c.Type == t {
			out = append(out, c)
		}
	}
	return out
}

// keptConditions refuses to take back what was decided.
func keptConditions(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(conditionsOf(r, t)) < len(conditionsOf(old, t)) {
			errs = append(errs, field.Forbidden(field.NewPath("status", "conditions"), fmt.Sprintf("updates may not remove a condition of type %q", t)))
		}
	}
	return errs
}

// validateRequestStatus is for a signer's write: it may issue once, or fail, and has no say in the approval.
func validateRequestStatus(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := append(validateRequestConditions(r.Status.Conditions), keptConditions(r, old)...)
	path := field.NewPath("status")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		now, was := conditionsOf(r, t), conditionsOf(old, t)
		switch {
		case len(now) < len(was): // said above
		case len(now) > len(was):
			errs = append(errs, field.Forbidden(path.Child("conditions"), fmt.Sprintf("updates may not add a condition of type %q", t)))
		case !apiequality.Semantic.DeepEqual(now, was):
			errs = append(errs, field.Forbidden(path.Child("conditions"), fmt.Sprintf("updates may not modify a condition of type %q", t)))
		}
	}
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return errs
	}
	if now := r.Status.Certificate; len(now) > 0 && (len(old.Status.Certificate) == 0 || checkCertificates(old.Status.Certificate) == nil) {
		if err := checkCertificates(now); err != nil {
			errs = append(errs, field.Invalid(path.Child("certificate"), "<certificate data>", err.Error()))
		}
	}
	if len(old.Status.Certificate) > 0 {
		errs = append(errs, field.Forbidden(path.Child("certificate"), "updates may not modify existing certificate content"))
	}
	return errs
}

// checkCertificates wants one or more PEM certificates without headers.
func checkCertificates(data []byte) error {
	blocks := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
