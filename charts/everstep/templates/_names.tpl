{{/* What things are called. The longest suffix is "-controller". */}}
{{- define "everstep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "everstep.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "everstep.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "everstep.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Of an object of the cluster: releases of one name in two namespaces do not meet. Takes (dict "root" $ "suffix" "…"). */}}
{{- define "everstep.clusterName" -}}
{{- printf "%s-%s.%s" (include "everstep.fullname" .root) .suffix .root.Release.Namespace }}
{{- end }}

{{/* The next ones take (dict "root" $ "role" "controller" or "worker"). */}}
{{- define "everstep.roleName" -}}
{{- printf "%s-%s" (include "everstep.fullname" .root) .role }}
{{- end }}

{{- define "everstep.account" -}}
{{- $account := (index .root.Values .role).serviceAccount }}
{{- if $account.create }}
{{- default (include "everstep.roleName" .) $account.name }}
{{- else }}
{{- required (printf "%s.serviceAccount.name: name the account that is there, or leave %s.serviceAccount.create true" .role .role) $account.name }}
{{- end }}
{{- end }}

{{- define "everstep.selector" -}}
app.kubernetes.io/name: {{ include "everstep.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{/* Labels of what belongs to one role. */}}
{{- define "everstep.roleLabels" -}}
{{ include "everstep.selector" . }}
{{ include "everstep.origin" .root }}
{{- end }}

{{/* Labels of what belongs to no role. */}}
{{- define "everstep.labels" -}}
app.kubernetes.io/name: {{ include "everstep.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "everstep.origin" . }}
{{- end }}

{{- define "everstep.origin" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: everstep
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The image; a digest wins over a tag. */}}
{{- define "everstep.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "everstep.databaseSecret" -}}
{{- required "database.existingSecret is required: the name of a Secret with the URL of the engine's PostgreSQL. Create one: kubectl create secret generic everstep-database --from-literal=url=postgres://user:password@host:5432/everstep" .Values.database.existingSecret }}
{{- end }}

{{- define "everstep.egressConfigMap" -}}
{{- default (printf "%s-egress" (include "everstep.fullname" .)) .Values.egress.existingConfigMap }}
{{- end }}

{{- define "everstep.leaderLease" -}}
{{- default (printf "%s-controller" (include "everstep.fullname" .)) .Values.controller.leaderLease }}
{{- end }}
