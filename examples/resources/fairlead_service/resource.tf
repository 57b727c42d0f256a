variable "cluster" {
  description = "Id of a fairlead_cluster."
  type        = string
}

resource "fairlead_service" "web" {
  cluster  = var.cluster
  metadata = { name = "web", namespace = "shop" }
  spec = {
    type     = "NodePort"
    selector = { app = "web" }
    ports    = [{ port = 80, target_port = "8080" }]
  }
}

output "node_port" {
  value = fairlead_service.web.spec.ports[0].node_port
}
