{{/* The name that all objects carry. */}}
{{- define "scalegate.name" -}}
{{- default "scalegate" .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the configurations and of everything cluster-scoped: two installations must not share them. */}}
{{- define "scalegate.clusterName" -}}
{{ include "scalegate.name" . }}
{{- end -}}

{{- define "scalegate.selector" -}}
app.kubernetes.io/name: scalegate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "scalegate.labels" -}}
{{ include "scalegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "scalegate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The Secret that holds the serving certificate. The names differ, so that a change of mode never has two owners. */}}
{{- define "scalegate.tlsSecret" -}}
{{- if .Values.certificates.secretName -}}
{{ .Values.certificates.secretName }}
{{- else if eq .Values.certificates.mode "cert-manager" -}}
{{ include "scalegate.name" . }}-serving
{{- else if eq .Values.certificates.mode "files" -}}
{{- fail "certificates.secretName must name the Secret with tls.crt and tls.key when certificates.mode is files" -}}
{{- else -}}
{{ include "scalegate.name" . }}-tls
{{- end -}}
{{- end -}}

{{- define "scalegate.caSecret" -}}
{{ include "scalegate.name" . }}-ca
{{- end -}}

{{- define "scalegate.backend" -}}
{{- $backend := default dict (get .Values.config "backend") -}}
{{ default "gmp" (get $backend "type") }}
{{- end -}}

{{- define "scalegate.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "scalegate.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Pod fields that both Deployments take from their values. */}}
{{- define "scalegate.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Peers of a NetworkPolicy for a list of CIDRs. */}}
{{- define "scalegate.cidrPeers" -}}
{{- range . }}
- ipBlock:
    cidr: {{ . }}
{{- end }}
{{- end }}

{{/* The Deployments that there are: a list in YAML. Without a controller nothing would fill in self-managed certificates. */}}
{{- define "scalegate.components" -}}
{{- if .Values.controller.enabled -}}
[webhook, controller]
{{- else if eq .Values.certificates.mode "self-managed" -}}
{{- fail "controller.enabled must be true when certificates.mode is self-managed: the controller makes the certificates" -}}
{{- else -}}
[webhook]
{{- end -}}
{{- end -}}

{{/* What a verdict rests on: webhook and controller read the same, so that they decide alike. */}}
{{- define "scalegate.readRules" -}}
- apiGroups: [""]
  resources: [namespaces, nodes, resourcequotas, services]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch]
- apiGroups: [leaderworkerset.x-k8s.io]
  resources: [leaderworkersets]
  verbs: [get, list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch]
- apiGroups: [autoscaling.gke.io]
  resources: [multidimpodautoscalers, autoscalingmetrics]
  verbs: [get, list, watch]
- apiGroups: [monitoring.googleapis.com]
  resources: [podmonitorings, clusterpodmonitorings, rules, clusterrules, globalrules]
  verbs: [get, list, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, servicemonitors, prometheusrules]
  verbs: [get, list, watch]
- apiGroups: [karpenter.sh]
  resources: [nodepools]
  verbs: [get, list, watch]
- apiGroups: [cloud.google.com]
  resources: [computeclasses]
  verbs: [get, list, watch]
- apiGroups: [resource.k8s.io]
  resources: [deviceclasses, resourceslices]
  verbs: [get, list, watch]
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  verbs: [get, list, watch]
# Whether anybody serves the metrics that autoscalers name. The values that come with the answer are thrown away.
- apiGroups: [custom.metrics.k8s.io, external.metrics.k8s.io]
  resources: ["*"]
  verbs: [get, list]
{{- end -}}
