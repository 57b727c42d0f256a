resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "192.0.2.11" }]
}

ephemeral "fairlead_kubeconfig" "main" {
  cluster = fairlead_cluster.main.id
  user    = "ci"
  groups  = ["system:masters"]
}

# Its host, ca_certificate and token configure another provider for this run, such as
#
#   provider "helm" {
#     kubernetes = {
#       host                   = ephemeral.fairlead_kubeconfig.main.host
#       cluster_ca_certificate = ephemeral.fairlead_kubeconfig.main.ca_certificate
#       token                  = ephemeral.fairlead_kubeconfig.main.token
#     }
#   }
