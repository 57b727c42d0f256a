variable "cluster" {
  description = "Id of a fairlead_cluster."
  type        = string
}

resource "fairlead_deployment" "web" {
  cluster  = var.cluster
  metadata = { name = "web", namespace = "shop" }
  spec = {
    replicas = 3
    strategy = { type = "RollingUpdate", rolling_update = { max_surge = "1", max_unavailable = "0" } }
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        containers = [{
          name            = "web"
          image           = "registry.example/web:1"
          ports           = [{ container_port = 8080 }]
          env             = [{ name = "TOKEN", value_from = { secret_key_ref = { name = "web", key = "TOKEN" } } }]
          resources       = { requests = { cpu = "100m", memory = "64Mi" }, limits = { memory = "128Mi" } }
          readiness_probe = { http_get = { path = "/healthz", port = "8080" } }
        }]
      }
    }
  }
  timeouts = { create = "5m", update = "5m" }
}
