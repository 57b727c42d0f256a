data "fairlead_pods" "web" {
  cluster        = "prod@192.0.2.11"
  namespace      = "shop"
  label_selector = "app=web"
}

output "web" {
  value = { for p in data.fairlead_pods.web.pods : p.name => coalesce(p.reason, p.phase) }
}
