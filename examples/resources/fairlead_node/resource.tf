variable "workers" {
  type = map(object({ address = string, host_key = string }))
}

resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "192.0.2.11" }]
}

resource "fairlead_node" "worker" {
  for_each = var.workers
  cluster  = fairlead_cluster.main.id
  address  = each.value.address
  host_key = each.value.host_key
  labels   = { zone = each.key }

  on_destroy = { drain_timeout = "10m" }
}
