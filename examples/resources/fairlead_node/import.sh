# CLUSTER/NAME, where CLUSTER is the id of the fairlead_cluster. Labels, taints and eviction_hard are read from the host, where
# known_hosts knows it; else the next apply sets them.
terraform import 'fairlead_node.worker["a"]' prod@192.0.2.11/worker-a
