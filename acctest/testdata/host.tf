# A cluster of one host and nothing on it.

terraform {
  required_providers {
    fairlead = { source = "fairlead-io/fairlead" }
  }
}

variable "ssh" {
  type = any
}

variable "address" {
  type = string
}

variable "host_key" {
  type    = string
  default = null
}

variable "lost" {
  type    = set(string)
  default = []
}

provider "fairlead" {
  ssh           = var.ssh
  lost_clusters = var.lost
}

resource "fairlead_cluster" "main" {
  name          = "alone"
  control_plane = [{ address = var.address, host_key = var.host_key }]
}

data "fairlead_nodes" "all" {
  cluster = fairlead_cluster.main.id
}

output "nodes" {
  value = join(",", [for n in data.fairlead_nodes.all.nodes : n.name])
}
