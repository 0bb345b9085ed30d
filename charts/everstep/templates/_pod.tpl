{{/* Where things are in a pod; the tests and extraVolumeMounts rely on these paths. */}}
{{- define "everstep.databaseDirectory" -}}/etc/everstep/database{{- end }}
{{- define "everstep.egressDirectory" -}}/etc/everstep/egress{{- end }}

{{/* What both Deployments say of their pods. Takes (dict "root" $ "role" …). */}}
{{- define "everstep.podMetadata" -}}
{{- $values := index .root.Values .role -}}
labels:
  {{- include "everstep.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: everstep
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where and how the pods run. */}}
{{- define "everstep.placement" -}}
{{- $values := index .root.Values .role -}}
serviceAccountName: {{ include "everstep.account" . }}
automountServiceAccountToken: true
# Kubernetes would describe every Service of the namespace in variables.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
- {{ toYaml . | nindent 2 | trim }}
  {{- if not .labelSelector }}
  labelSelector:
    matchLabels:
      {{- include "everstep.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The container, but for its arguments and mounts. */}}
{{- define "everstep.container" -}}
image: {{ include "everstep.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "everstep.containerSecurity" . | nindent 2 }}
{{- end }}

{{- define "everstep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Liveness depends on nothing outside the process: a restart brings no database back. */}}
{{- define "everstep.probes" -}}
ports:
- {name: http, containerPort: 8080}
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{- define "everstep.databaseVolume" -}}
name: database
secret:
  secretName: {{ include "everstep.databaseSecret" . }}
  # For the owner and fsGroup: 0440.
  defaultMode: 288
  items:
  - {key: {{ .Values.database.key | quote }}, path: url}
{{- end }}

{{/* Arguments that every role takes. */}}
{{- define "everstep.commonArguments" -}}
- --database-url-file={{ include "everstep.databaseDirectory" . }}/url
- --listen=0.0.0.0:8080
{{- with .Values.namespaces }}
- --namespaces={{ join "," . }}
{{- end }}
- --log-format={{ .Values.log.format }}
- {{ printf "--log=%s" (include "everstep.logFilter" .) | quote }}
{{- end }}

{{/* The filter of the logs. A word that is no level would be taken for a target, and the process refuses it. */}}
{{- define "everstep.logFilter" -}}
{{- range splitList "," .Values.log.filter }}
{{- if not (or (regexMatch "[=:\\[]|^[0-5]?$" .) (has (lower .) (list "everstep" "off" "error" "warn" "info" "debug" "trace"))) }}
{{- fail (printf "log.filter: %q is no level (off, error, warn, info, debug, trace); events of one target are written %s=info" . .) }}
{{- end }}
{{- end }}
{{- .Values.log.filter }}
{{- end }}

{{/*
A duration, in the bounds that the process has for it: a schema cannot say those. Takes (dict "name" … "value" …
"least" seconds "most" seconds, or none "whole" seconds only "range" in words).
*/}}
{{- define "everstep.duration" -}}
{{- $units := dict "h" 3600 "m" 60 "s" 1 "ms" 0.001 }}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9.]+[hms]+" .value -1 }}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9.]+" .) (get $units (regexFind "[hms]+" .))) }}
{{- end }}
{{- $short := lt $seconds (float64 .least) }}
{{- $long := and .most (gt $seconds (float64 .most)) }}
{{- $broken := and .whole (ne (floor $seconds) $seconds) }}
{{- if or $short $long $broken }}
{{- fail (printf "%s: %s is not %s" .name .value .range) }}
{{- end }}
{{- .value }}
{{- end }}
