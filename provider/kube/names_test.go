package kube

import "testing"

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{
		"name": "name", "podIP": "pod_ip", "podIPs": "pod_ips", "clusterIP": "cluster_ip", "clusterIPs": "cluster_ips",
		"hostPID": "host_pid", "hostIPC": "host_ipc", "setHostnameAsFQDN": "set_hostname_as_fqdn", "volumeID": "volume_id",
		"targetWWNs": "target_wwns", "wwids": "wwids", "diskURI": "disk_uri", "awsElasticBlockStore": "aws_elastic_block_store",
		"gcePersistentDisk": "gce_persistent_disk", "httpGet": "http_get", "tcpSocket": "tcp_socket", "scaleIO": "scale_io",
		"seLinuxOptions": "se_linux_options", "fsType": "fs_type", "datasetUUID": "dataset_uuid", "ConfigMap": "config_map",
		"HTTPRoute": "http_route", "JSONPath": "json_path", "CSIDriver": "csi_driver", "IPsToUse": "ips_to_use", "downwardAPI": "downward_api",
		"podCIDRs": "pod_cidrs", "openAPIV3Schema": "open_api_v3_schema", "x-kind": "x_kind",
	} {
		if got := snake(name); got != want {
			t.Errorf("snake(%q) = %q, want %q", name, got, want)
		}
	}
}
