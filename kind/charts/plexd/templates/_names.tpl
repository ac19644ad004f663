{{- define "plexd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name, with the chart's unless that is part of it. */}}
{{- define "plexd.fullname" -}}
{{- $name := include "plexd.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "plexd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "plexd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "plexd.labels" -}}
{{ include "plexd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "plexd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "plexd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "plexd.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{/* The agent's config.yaml. Every generation of the agent reads it: the public one of February 2026 wants the keys
without underscores, and four values that it then ignores. */}}
{{- define "plexd.config" -}}
{{- $url := required "controlPlaneUrl is not set: --set controlPlaneUrl=https://control.example.com" .Values.controlPlaneUrl -}}
{{- $registration := dict "datadir" "/var/lib/plexd" -}}
{{- if eq .Values.bootstrapTokenDelivery "file" -}}
{{- $_ := set $registration "token_file" "/etc/plexd/bootstrap-token" -}}
{{- $_ := set $registration "tokenfile" "/etc/plexd/bootstrap-token" -}}
{{- end -}}
{{- $base := dict
      "data_dir" "/var/lib/plexd"
      "log_level" .Values.logLevel
      "api" (dict "base_url" $url "baseurl" $url)
      "registration" $registration
      "node_api" (dict "datadir" "/var/lib/plexd" "socket_path" "/var/run/plexd/api.sock" "socketpath" "/var/run/plexd/api.sock")
      "heartbeat" (dict "nodeid" "set-at-registration") -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.config)) -}}
{{- end -}}
