# CLUSTER/NAMESPACE/NAME, where CLUSTER is the id of the fairlead_cluster.
terraform import fairlead_config_map.web prod@192.0.2.11/shop/web
