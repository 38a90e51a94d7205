{{- define "farshore.name" -}}
{{- if contains "farshore" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-farshore" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "farshore.selector" -}}
app.kubernetes.io/name: farshore
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "farshore.labels" -}}
{{ include "farshore.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: farshore
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "farshore.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "farshore.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "farshore.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Who the controller is to the API server, as admission policies see it. */}}
{{- define "farshore.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "farshore.name" . }}
{{- end }}
{{- /* Kinds of other operators that a restore may be left to, as `via` allows: what is made, and what is only seen. */ -}}
{{- define "farshore.foreign" -}}
{{- $all := list -}}
{{- with .Values.via -}}
{{- if .cloudNativePG -}}
{{- $all = append $all (dict "group" "postgresql.cnpg.io" "made" (list "clusters")) -}}
{{- $all = append $all (dict "group" "barmancloud.cnpg.io" "made" (list "objectstores")) -}}
{{- end -}}
{{- if .mariadbOperator -}}
{{- $all = append $all (dict "group" "k8s.mariadb.com" "made" (list "mariadbs" "physicalbackups" "pointintimerecoveries")) -}}
{{- end -}}
{{- if .perconaServerMongoDB -}}
{{- $all = append $all (dict "group" "psmdb.percona.com" "made" (list "perconaservermongodbrestores") "seen" (list "perconaservermongodbs")) -}}
{{- end -}}
{{- if .perconaXtraDBCluster -}}
{{- $all = append $all (dict "group" "pxc.percona.com" "made" (list "perconaxtradbclusterrestores") "seen" (list "perconaxtradbclusters")) -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}
