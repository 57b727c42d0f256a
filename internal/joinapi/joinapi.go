// Package joinapi has the messages by which a node gets and renews its certificates.
package joinapi

// Paths of the API server; both take POST with a JSON Request and answer a JSON Response.
const (
	// JoinPath takes a join token in place of a client certificate.
	JoinPath = "/fairlead/v1/join"
	// RenewPath takes the node's client certificate, and no token.
	RenewPath = "/fairlead/v1/renew"
)

// MaxBytes bounds a request's and a response's body.
const MaxBytes = 64 << 10

// Request asks for certificates of keys that the node made. Of the requests only the keys count: names and
// usages are the server's choice.
type Request struct {
	Token          string `json:"token,omitempty"`
	Node           string `json:"node"`
	ClientRequest  string `json:"clientRequest"`  // PEM
	ServingRequest string `json:"servingRequest"` // PEM
}

// Response holds the signed certificates.
type Response struct {
	ClientCertificate  string `json:"clientCertificate"`  // PEM
	ServingCertificate string `json:"servingCertificate"` // PEM
}
