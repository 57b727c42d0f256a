variable "cluster" {
  description = "Id of a fairlead_cluster."
  type        = string
}

resource "fairlead_namespace" "shop" {
  cluster  = var.cluster
  metadata = { name = "shop", labels = { team = "sales" } }
}
