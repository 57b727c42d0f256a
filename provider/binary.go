package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

// ownBinary describes this executable, which is also the node's software: what is uploaded to hosts can not be
// of another version than the provider that does it.
var ownBinary = sync.OnceValues(func() (bootstrap.Binary, error) {
	self, err := os.Executable()
	if err != nil {
		return bootstrap.Binary{}, fmt.Errorf("cannot find the provider's own executable: %w", err)
	}
	f, err := os.Open(self)
	if err != nil {
		return bootstrap.Binary{}, fmt.Errorf("cannot read the provider's own executable: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return bootstrap.Binary{}, fmt.Errorf("cannot read the provider's own executable: %w", err)
	}
	return bootstrap.Binary{
		Path: self, SHA256: hex.EncodeToString(sum.Sum(nil)), Version: version.String(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}, nil
})
