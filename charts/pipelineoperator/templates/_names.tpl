{{/* The name of all objects. */}}
{{- define "pipelineoperator.name" -}}
{{- default .Chart.Name .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select the operator's pods; they never change. */}}
{{- define "pipelineoperator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of all objects. */}}
{{- define "pipelineoperator.labels" -}}
{{ include "pipelineoperator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The name of the ServiceAccount. */}}
{{- define "pipelineoperator.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pipelineoperator.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name an account, or let serviceAccount.create be true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The operator's image. */}}
{{- define "pipelineoperator.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
