package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/pki"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/certs"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/joinapi"
)

// Handler serves joinapi's paths. It authenticates by itself: a token for one path, the peer's verified client
// certificate for the other.
type Handler struct {
	Client    client.Client
	Authority *pki.Authority
	Logger    *slog.Logger
}

// Routes returns the handlers by path, for the API server.
func (h *Handler) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		joinapi.JoinPath:  http.HandlerFunc(h.join),
		joinapi.RenewPath: http.HandlerFunc(h.renew),
	}
}

func (h *Handler) join(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(ctx context.Context, req *joinapi.Request) error {
		return consume(ctx, h.Client, req.Token, req.Node, time.Now())
	})
}

// renew wants the Node object to exist: a node that was removed from the cluster ends with its certificate.
func (h *Handler) renew(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(ctx context.Context, req *joinapi.Request) error {
		if !isNode(r, req.Node) {
			return ErrToken
		}
		_, err := client.Get[*corev1.Node](ctx, h.Client, "", req.Node)
		if apierrors.IsNotFound(err) {
			return ErrToken
		}
		return err
	})
}

func isNode(r *http.Request, node string) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	subject := r.TLS.VerifiedChains[0][0].Subject
	return subject.CommonName == certs.NodeUserPrefix+node && slices.Contains(subject.Organization, certs.NodesGroup)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, allow func(context.Context, *joinapi.Request) error) {
	if r.Method != http.MethodPost {
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	var req joinapi.Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, joinapi.MaxBytes)).Decode(&req); err != nil {
		http.Error(w, "cannot decode request: "+err.Error(), http.StatusBadRequest)
		return
	}
	if errs := validation.IsDNS1123Subdomain(req.Node); len(errs) > 0 {
		http.Error(w, fmt.Sprintf("node name %q: %s", req.Node, strings.Join(errs, "; ")), http.StatusBadRequest)
		return
	}
	if err := allow(r.Context(), &req); err != nil {
		h.Logger.Warn("node refused", "node", req.Node, "remote", r.RemoteAddr, "err", err)
		if errors.Is(err, ErrToken) {
			http.Error(w, ErrToken.Error(), http.StatusUnauthorized)
			return
		}
		http.Error(w, "cannot answer now; try again", http.StatusServiceUnavailable)
		return
	}
	resp, err := h.sign(&req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.Logger.Info("node certificates signed", "node", req.Node, "remote", r.RemoteAddr)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(resp)
}

func (h *Handler) sign(req *joinapi.Request) (*joinapi.Response, error) {
	clientCert, err := h.Authority.SignRequest([]byte(req.ClientRequest), pki.Subject{
		CommonName: certs.NodeUserPrefix + req.Node, Organizations: []string{certs.NodesGroup}, Client: true, Life: pki.NodeLife,
	})
	if err != nil {
		return nil, err
	}
	// The API server verifies an agent by its node's name, so no address needs to be believed.
	servingCert, err := h.Authority.SignRequest([]byte(req.ServingRequest), pki.Subject{
		CommonName: certs.NodeUserPrefix + req.Node, DNSNames: []string{req.Node}, Server: true, Life: pki.NodeLife,
	})
	if err != nil {
		return nil, err
	}
	return &joinapi.Response{ClientCertificate: string(clientCert), ServingCertificate: string(servingCert)}, nil
}
