{{- define "migrationlink.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Of the objects; 40 characters at most, so that what is appended still fits a label. */}}
{{- define "migrationlink.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "migrationlink.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "migrationlink.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "migrationlink.selector" -}}
app.kubernetes.io/name: {{ include "migrationlink.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "migrationlink.labels" -}}
{{ include "migrationlink.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels and annotations of an object without annotations of its own. */}}
{{- define "migrationlink.metadata" -}}
labels:
  {{- include "migrationlink.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "migrationlink.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "migrationlink.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false: serviceAccount.name must name the ServiceAccount that the operator runs under" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "migrationlink.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "migrationlink.leaseName" -}}
{{- default (include "migrationlink.fullname" .) .Values.leaderElection.leaseName }}
{{- end }}

{{- define "migrationlink.leaseNamespace" -}}
{{- default .Release.Namespace .Values.leaderElection.leaseNamespace }}
{{- end }}

{{/* watch or get: without a rule for Secrets of all namespaces the operator can only read them one by one. */}}
{{- define "migrationlink.secretAccess" -}}
{{- if eq .Values.rbac.secretAccess "perNamespace" }}get{{ else }}{{ .Values.secretAccess }}{{ end }}
{{- end }}

{{/* Whether it works in certain namespaces only. */}}
{{- define "migrationlink.namespaced" -}}
{{- if or .Values.watchNamespaces .Values.watchReleaseNamespace }}true{{ end }}
{{- end }}

{{/* The namespaces that get a Role, as a JSON list. */}}
{{- define "migrationlink.namespaces" -}}
{{- $namespaces := .Values.watchNamespaces }}
{{- if .Values.watchReleaseNamespace }}
{{- $namespaces = append $namespaces .Release.Namespace }}
{{- end }}
{{- $namespaces | uniq | toJson }}
{{- end }}

{{/* The port of ADDR:PORT or :PORT. */}}
{{- define "migrationlink.port" -}}
{{- . | splitList ":" | last }}
{{- end }}

{{- define "migrationlink.subject" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "migrationlink.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
