# CLUSTER/REFERENCE.
terraform import fairlead_image.web prod@192.0.2.11/localhost/web:0c6d9ba6b4a4e1f2
