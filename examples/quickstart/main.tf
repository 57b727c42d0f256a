# This machine becomes a cluster of one node, with a web server on it. `make quickstart` builds what it needs and
# applies it; `make quickstart-destroy` undoes it.

terraform {
  required_providers {
    fairlead = { source = "fairlead-io/fairlead" }
  }
}

variable "replicas" {
  description = "Pods of the web server."
  type        = number
  default     = 3
}

variable "image" {
  description = "Another image for the web server; by default the one that `make quickstart` built."
  type        = string
  default     = null
}

provider "fairlead" {}

# `local` is the machine that Terraform runs on: no SSH.
resource "fairlead_cluster" "main" {
  name          = "quickstart"
  control_plane = [{ address = "local" }]
}

# From a file onto the node's disk: no registry.
resource "fairlead_image" "web" {
  cluster = fairlead_cluster.main.id
  name    = "web"
  source  = "${path.module}/../../.cache/quickstart/web.tar"
}

resource "fairlead_deployment" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web" }
  spec = {
    replicas = var.replicas
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        containers = [{
          name            = "web"
          image           = coalesce(var.image, fairlead_image.web.reference)
          ports           = [{ container_port = 8080 }]
          readiness_probe = { http_get = { path = "/healthz", port = "8080" }, period_seconds = 1 }
        }]
      }
    }
  }
  timeouts = { create = "2m", update = "2m" }
}

resource "fairlead_service" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web" }
  spec     = { type = "NodePort", selector = { app = "web" }, ports = [{ port = 80, target_port = "8080" }] }
}

output "url" {
  description = "The web server; a node port answers on the node's address, not on 127.0.0.1."
  value       = "http://${fairlead_cluster.main.control_plane[0].internal_address}:${fairlead_service.web.spec.ports[0].node_port}"
}
