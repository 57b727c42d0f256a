{{- define "shop.labels" -}}
app.kubernetes.io/name: shop
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "shop.selector" -}}
app: {{ .Release.Name }}
{{- end -}}

{{- /* A pod that serves what the configuration has. */ -}}
{{- define "shop.pod" -}}
metadata:
  labels: {{- include "shop.selector" . | nindent 4 }}
  annotations:
    checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
spec:
  serviceAccountName: {{ .Release.Name }}
  priorityClassName: {{ .Release.Name }}
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: {{ .Values.image | quote }}
      command: [httpd, -f, -p, "8080", -h, /etc/shop]
      ports: [{name: http, containerPort: 8080}]
      readinessProbe: {httpGet: {path: /greeting, port: http}, periodSeconds: 1}
      volumeMounts: [{name: config, mountPath: /etc/shop}]
  volumes: [{name: config, configMap: {name: {{ .Release.Name }}}}]
{{- end -}}

{{- /* A pod that runs one line of shell and ends. */ -}}
{{- define "shop.task" -}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - name: task
      image: {{ .image | quote }}
      command: [sh, -c, {{ .run | quote }}]
{{- end -}}
