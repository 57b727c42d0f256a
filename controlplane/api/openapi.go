package api

import (
	"net/http"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

type openAPI struct{}

func newOpenAPI(*kind.Table) *openAPI { return &openAPI{} }

func (o *openAPI) serve(_ *Server, _ http.ResponseWriter, r *request, _ string) error {
	return errPathNotFound(r)
}
