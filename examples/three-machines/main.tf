# Three machines that answer SSH become a cluster with a web server of three replicas, spread over them.

terraform {
  required_providers {
    fairlead = { source = "fairlead-io/fairlead" }
  }
}

provider "fairlead" {
  ssh = { user = var.user, private_key_file = var.private_key_file }
}

resource "fairlead_cluster" "main" {
  name          = "three"
  control_plane = [{ address = var.control_plane.address, host_key = var.control_plane.host_key }]
}

resource "fairlead_node" "worker" {
  for_each = var.workers
  cluster  = fairlead_cluster.main.id
  address  = each.value.address
  host_key = each.value.host_key
  labels   = { zone = each.key }
}

# Onto every node, so that no registry is needed. By their names, so that a machine that is added has it in the same apply.
resource "fairlead_image" "web" {
  cluster = fairlead_cluster.main.id
  name    = "web"
  source  = var.image_source
  nodes   = concat(fairlead_cluster.main.control_plane[*].node_name, [for n in fairlead_node.worker : n.name])
}

resource "fairlead_deployment" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web" }
  spec = {
    replicas = 3
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        containers = [{
          name            = "web"
          image           = fairlead_image.web.reference
          ports           = [{ container_port = 8080 }]
          readiness_probe = { http_get = { path = "/healthz", port = "8080" }, period_seconds = 1 }
        }]
      }
    }
  }
}

resource "fairlead_service" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web" }
  spec     = { type = "NodePort", selector = { app = "web" }, ports = [{ port = 80, target_port = "8080" }] }
}

output "url" {
  description = "The web server; every node's address answers."
  value       = "http://${var.control_plane.address}:${fairlead_service.web.spec.ports[0].node_port}"
}
