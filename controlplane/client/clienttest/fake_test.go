package clienttest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeKeepsTheContract(t *testing.T) {
	conformance.Run(t, func(*testing.T) client.Client { return clienttest.NewFake() })
}
