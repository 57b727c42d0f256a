variable "cluster" {
  description = "Id of a fairlead_cluster."
  type        = string
}

resource "fairlead_config_map" "web" {
  cluster  = var.cluster
  metadata = { name = "web", namespace = "shop" }
  data = {
    GREETING     = "Hello"
    "app.config" = "colour = blue\n"
  }
}
