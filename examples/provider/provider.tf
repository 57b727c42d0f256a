terraform {
  required_providers {
    fairlead = {
      source  = "fairlead-io/fairlead"
      version = "~> 0.1"
    }
  }
}

provider "fairlead" {
  ssh = {
    user             = "ops"
    private_key_file = "~/.ssh/id_ed25519"
  }
}
