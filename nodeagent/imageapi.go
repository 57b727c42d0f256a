package nodeagent

import (
	"encoding/json"
	"net/http"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/image"
)

// imageAPI lets an operator put images onto the node through the API server's node proxy, so that no registry is
// needed: PUT /images takes an archive, GET /images?name=REFERENCE says whether it is there.
type imageAPI struct {
	images *image.Manager
	// changed is called after an import, so that the node's status names the image soon.
	changed func()
}

func (a *imageAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPut:
		imported, err := a.images.Import(r.Context(), r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		a.changed()
		writeJSON(w, imported)
	case http.MethodGet:
		name, err := image.Normalize(r.URL.Query().Get("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		img, err := a.images.Lookup(r.Context(), name)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case img == nil:
			http.Error(w, "the node does not have image "+name, http.StatusNotFound)
		default:
			writeJSON(w, image.Imported{Name: img.Name, Digest: img.Digest})
		}
	default:
		w.Header().Set("Allow", "GET, PUT")
		http.Error(w, "use GET or PUT", http.StatusMethodNotAllowed)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
