# CLUSTER/NAME, where CLUSTER is the id of the fairlead_cluster.
terraform import 'fairlead_node.worker["a"]' prod@192.0.2.11/worker-a
