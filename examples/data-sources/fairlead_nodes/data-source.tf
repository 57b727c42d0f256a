data "fairlead_nodes" "zone_a" {
  cluster        = "prod@192.0.2.11"
  label_selector = "zone=a"
}

output "addresses" {
  value = [for n in data.fairlead_nodes.zone_a.nodes : n.address if n.ready]
}
