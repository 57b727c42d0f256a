package registry_test

import (
	"testing"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/api/apitest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/conformance"
)

func TestClientConforms(t *testing.T) {
	conformance.Run(t, func(t *testing.T) client.Client { return apitest.Start(t, apitest.Options{}).Client })
}

func TestFakeConforms(t *testing.T) {
	conformance.Run(t, func(t *testing.T) client.Client { return clienttest.NewFake() })
}
