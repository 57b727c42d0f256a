# CLUSTER/NAME, where CLUSTER is the id of the fairlead_cluster.
terraform import fairlead_namespace.shop prod@192.0.2.11/shop
