# A cluster that another configuration made.
data "fairlead_cluster" "prod" {
  id = "prod@192.0.2.11"
}

output "api_server" {
  value = data.fairlead_cluster.prod.api_server
}
