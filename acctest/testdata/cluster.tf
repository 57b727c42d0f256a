# A cluster of a control-plane host and workers with a web server on it, as a user would write it; the tests
# change its variables.

terraform {
  required_providers {
    fairlead = { source = "fairlead-io/fairlead" }
  }
}

variable "ssh" {
  description = "The provider's ssh block."
  type        = any
}

variable "control_plane" {
  type = object({ address = string, host_key = string, labels = optional(map(string)) })
}

variable "workers" {
  type = map(object({ address = string, host_key = string, ignore_unreachable = optional(bool, false) }))
}

variable "eviction_hard" {
  description = "Of the workers."
  type        = map(string)
  default     = null
}

variable "image_source" {
  type = string
}

variable "image" {
  description = "Image of the web server instead of the one that is uploaded."
  type        = string
  default     = null
}

variable "replicas" {
  type    = number
  default = 3
}

variable "greeting" {
  type    = string
  default = "Hello"
}

variable "keep_token" {
  description = "Do not revoke the kubeconfig's token at the end of the run."
  type        = bool
  default     = false
}

provider "fairlead" {
  ssh = var.ssh
}

resource "fairlead_cluster" "main" {
  name              = "acctest"
  control_plane     = [var.control_plane]
  certificate_names = ["api.example.com"]
  oidc = {
    issuer_url   = "https://login.example.com"
    client_id    = "fairlead"
    groups_claim = "groups"
  }
  audit = {
    policy      = yamlencode({ apiVersion = "audit.k8s.io/v1", kind = "Policy", rules = [{ level = "Metadata" }] })
    max_backups = 3
  }
}

resource "fairlead_node" "worker" {
  for_each      = var.workers
  cluster       = fairlead_cluster.main.id
  address       = each.value.address
  host_key      = each.value.host_key
  labels        = { zone = each.key }
  eviction_hard = var.eviction_hard
  on_destroy    = each.value.ignore_unreachable ? { ignore_unreachable = true } : null
}

ephemeral "fairlead_kubeconfig" "ci" {
  cluster         = fairlead_cluster.main.id
  user            = "ci"
  groups          = ["deployers"]
  revoke_on_close = !var.keep_token
}

resource "fairlead_image" "web" {
  cluster = fairlead_cluster.main.id
  name    = "web"
  source  = var.image_source
  nodes   = concat(fairlead_cluster.main.control_plane[*].node_name, [for n in fairlead_node.worker : n.name])
}

resource "fairlead_namespace" "shop" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "shop", labels = { team = "sales" } }
}

resource "fairlead_config_map" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  data     = { GREETING = var.greeting }
}

resource "fairlead_secret" "web" {
  cluster         = fairlead_cluster.main.id
  metadata        = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  data_wo         = { TOKEN = "s3cr3t-of-the-test", CI = ephemeral.fairlead_kubeconfig.ci.token }
  data_wo_version = var.keep_token ? 2 : 1
}

resource "fairlead_deployment" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    replicas = var.replicas
    strategy = { type = "RollingUpdate", rolling_update = { max_surge = 1, max_unavailable = 0 } }
    template = {
      metadata = { labels = { app = "web" } }
      spec = {
        termination_grace_period_seconds = 15
        # A machine that is gone is given up soon.
        tolerations = [
          { key = "node.kubernetes.io/unreachable", operator = "Exists", effect = "NoExecute", toleration_seconds = 1 },
          { key = "node.kubernetes.io/not-ready", operator = "Exists", effect = "NoExecute", toleration_seconds = 60 },
        ]
        containers = [{
          name  = "web"
          image = coalesce(var.image, fairlead_image.web.reference)
          ports = [{ container_port = 8080 }]
          env = [
            { name = "GREETING", value = var.greeting },
            { name = "TOKEN", value_from = { secret_key_ref = { name = fairlead_secret.web.metadata.name, key = "TOKEN" } } },
          ]
          readiness_probe = { http_get = { path = "/healthz", port = 8080 }, period_seconds = 1 }
          # Requests still come until every node knows that the pod goes.
          lifecycle = { pre_stop = { sleep = { seconds = 2 } } }
        }]
      }
    }
  }
  timeouts = { create = "4m", update = "4m" }
}

resource "fairlead_service" "web" {
  cluster  = fairlead_cluster.main.id
  metadata = { name = "web", namespace = fairlead_namespace.shop.metadata.name }
  spec = {
    type     = "NodePort"
    selector = { app = "web" }
    ports    = [{ port = 80, target_port = "8080" }]
  }
}

output "url" {
  value = "http://${var.control_plane.address}:${fairlead_service.web.spec.ports[0].node_port}"
}

output "id" {
  value = fairlead_cluster.main.id
}
