# A cluster of one host with a web server that may use so much and no more.

terraform {
  required_providers {
    fairlead = { source = "fairlead-io/fairlead" }
  }
}

variable "ssh" {
  type = any
}

variable "control_plane" {
  type = object({ address = string, host_key = string })
}

variable "image_source" {
  type = string
}

provider "fairlead" {
  ssh = var.ssh
}

resource "fairlead_cluster" "main" {
  name          = "vm"
  control_plane = [{ address = var.control_plane.address, host_key = var.control_plane.host_key }]
}

resource "fairlead_image" "web" {
  cluster = fairlead_cluster.main.id
  name    = "web"
  source  = var.image_source
}

resource "fairlead_namespace" "shop" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "shop" }
}

resource "fairlead_deployment" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    replicas = 2
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        containers = [{
          name            = "web"
          image           = fairlead_image.web.reference
          ports           = [{ container_port = 8080 }]
          readiness_probe = { http_get = { path = "/healthz", port = 8080 }, period_seconds = 2, timeout_seconds = 5 }
          resources       = { requests = { cpu = "100m", memory = "32Mi" }, limits = { cpu = "1500m", memory = "96Mi" } }
        }]
      }
    }
  }
}

resource "fairlead_service" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    type     = "NodePort"
    selector = { app = "web" }
    ports    = [{ port = 80, target_port = "8080" }]
  }
}

output "url" {
  value = "http://${var.control_plane.address}:${fairlead_service.web.spec.ports[0].node_port}"
}
