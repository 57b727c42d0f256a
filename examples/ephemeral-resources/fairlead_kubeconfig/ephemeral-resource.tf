resource "fairlead_cluster" "main" {
  name          = "prod"
  control_plane = [{ address = "192.0.2.11" }]
}

ephemeral "fairlead_kubeconfig" "main" {
  cluster  = fairlead_cluster.main.id
  groups   = ["system:masters"]
  lifetime = "30m"
}

# Its host, ca_certificate, client_certificate and client_key configure another provider for this run, such as
#
#   provider "helm" {
#     kubernetes = {
#       host                   = ephemeral.fairlead_kubeconfig.main.host
#       cluster_ca_certificate = ephemeral.fairlead_kubeconfig.main.ca_certificate
#       client_certificate     = ephemeral.fairlead_kubeconfig.main.client_certificate
#       client_key             = ephemeral.fairlead_kubeconfig.main.client_key
#     }
#   }
