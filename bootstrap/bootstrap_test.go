package bootstrap_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func binaryAt(t *testing.T, path, version string) bootstrap.Binary {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return bootstrap.Binary{Path: path, SHA256: hex.EncodeToString(sum[:]), Version: version, OS: runtime.GOOS, Arch: runtime.GOARCH}
}

func sha256Of(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
