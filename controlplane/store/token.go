package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// tokenVersion is what Kubernetes writes into its tokens; clients that look into them find what they know.
const tokenVersion = "meta.k8s.io/v1"

// anyRevision in a token means: go on with what there is now.
const anyRevision = -1

// token is where a list goes on. Its JSON, in URL-safe base64, is the continue parameter.
type token struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	Start    string `json:"start"`          // the first key of the next page, within the resource or its namespace
	Left     int64  `json:"left,omitempty"` // how many objects there are from Start on, where that was counted
}

func (t token) encode() string {
	t.Version = tokenVersion
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("cannot encode a continue token: %v", err)) // strings and a number always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeToken reads a continue parameter. A start that would leave the resource by "." or ".." is refused.
func decodeToken(s string) (token, error) {
	var t token
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	switch {
	case err != nil:
		return t, badToken(err.Error())
	case t.Version != tokenVersion:
		return t, badToken("server does not recognize this encoded version " + t.Version)
	case t.Revision <= 0 && t.Revision != anyRevision:
		return t, badToken("it has no resourceVersion")
	case t.Start == "":
		return t, badToken("it has no start")
	}
	abs := "/" + strings.TrimPrefix(t.Start, "/")
	if path.Clean(abs) != abs {
		return t, badToken("its start is not a key")
	}
	t.Start = abs[1:]
	return t, nil
}

func badToken(why string) error {
	return apierrors.NewBadRequest("invalid continue token: continue key is not valid: " + why)
}
