resource "fairlead_cluster" "main" {
  name = "prod"
  control_plane = [{
    address  = "192.0.2.11"
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIF0RY64ke+hbZXlUdkPwaVxf11vfHG+uuJXhCNG9U3D"
  }]
}
