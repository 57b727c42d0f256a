variable "cluster" {
  description = "Id of a fairlead_cluster."
  type        = string
}

resource "fairlead_image" "web" {
  cluster = var.cluster
  name    = "web"
  source  = "${path.module}/web.tar" # an OCI archive, a docker save archive or an OCI layout
}

resource "fairlead_deployment" "web" {
  cluster  = var.cluster
  metadata = { name = "web" }
  spec = {
    template = {
      metadata = { labels = { app = "web" } }
      # Another content is another reference, which rolls out.
      spec = { containers = [{ name = "web", image = fairlead_image.web.reference }] }
    }
  }
}
