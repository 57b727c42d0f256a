variable "cluster" {
  description = "Id of a fairlead_cluster."
  type        = string
}

variable "token" {
  type      = string
  ephemeral = true
}

resource "fairlead_secret" "web" {
  cluster  = var.cluster
  metadata = { name = "web", namespace = "shop" }

  # In no plan and no state. A greater version writes it again.
  data_wo         = { TOKEN = var.token }
  data_wo_version = 1
}
