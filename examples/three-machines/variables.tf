variable "user" {
  description = "SSH user of the machines: root, or one with sudo that asks for no password."
  type        = string
  default     = "root"
}

variable "private_key_file" {
  description = "Private key of the user."
  type        = string
  default     = "~/.ssh/id_ed25519"
}

variable "control_plane" {
  description = "The machine of the control plane. It runs pods too."
  type = object({
    address  = string
    host_key = optional(string) # known_hosts is asked when it is left out
  })
}

variable "workers" {
  description = "The other machines, by zone."
  type = map(object({
    address  = string
    host_key = optional(string)
  }))
}

variable "image_source" {
  description = "OCI archive of a web server that listens on port 8080 and answers /healthz."
  type        = string
  default     = "../../.cache/quickstart/web.tar"
}
