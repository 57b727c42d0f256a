# NAME@HOST[:PORT][#TYPE.FINGERPRINT]. Without the last part, known_hosts must know the host.
terraform import fairlead_cluster.main prod@192.0.2.11
