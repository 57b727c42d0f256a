# CLUSTER/NAME, where CLUSTER is the id of the fairlead_cluster. Labels, taints and eviction_hard are read from the host, where
# known_hosts knows it; else the next apply sets them.
terraform import 'fairlead_node.worker["a"]' prod@192.0.2.11/worker-a

# CLUSTER/NAME@HOST[:PORT][#TYPE.FINGERPRINT] for a host that is reached otherwise than at its address in the cluster: by name, at
# another port or address, or as this machine (local). HOST and PORT are what address and port say in the configuration. With the
# type and the SHA-256 fingerprint of its key, the host is known without known_hosts.
terraform import 'fairlead_node.worker["b"]' prod@192.0.2.11/worker-b@worker-b.example.com:2222
