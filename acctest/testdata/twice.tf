# One host in two resources, of two provider blocks: two processes for Terraform.

terraform {
  required_providers {
    fairlead = { source = "fairlead-io/fairlead" }
  }
}

provider "fairlead" {}

provider "fairlead" {
  alias = "other"
}

resource "fairlead_cluster" "one" {
  name          = "one"
  control_plane = [{ address = "192.0.2.11" }]
}

resource "fairlead_node" "two" {
  provider = fairlead.other
  cluster  = "two@192.0.2.12"
  address  = "192.0.2.11"
}
